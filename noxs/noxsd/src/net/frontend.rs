// SPDX-License-Identifier: GPL-3.0-or-later
//! A guest's end of the rings of a vif, for tests. It does not check anything and keeps no state.

use xen_abi::io::netif::{ExtraInfo, RxRequest, RxResponse, TxRequest, TxResponse};
use xen_ring::testing::{FakePage, frontend};
use xen_ring::{NetRx, NetTx};

pub(crate) use xen_ring::testing::frontend::responses;
#[cfg(test)]
pub(crate) use xen_ring::testing::frontend::{asked_for_event, producer, set_producer};

/// Writes a transmit request into the next slot and moves the index.
pub(crate) fn send(page: &FakePage, gref: u32, offset: u16, flags: u16, id: u16, size: u16) {
    frontend::submit::<NetTx>(page, &TxRequest { gref, offset, flags, id, size });
}

/// Writes an extra info into the next slot of the transmit ring and moves the index.
pub(crate) fn send_extra(page: &FakePage, extra: ExtraInfo) {
    frontend::submit::<NetTx>(page, &extra.into());
}

/// Posts a receive request.
pub(crate) fn post(page: &FakePage, id: u16, gref: u32) {
    frontend::submit::<NetRx>(page, &RxRequest { id, pad: 0, gref });
}

/// Returns the identifier and the status of a transmit response.
pub(crate) fn tx_response(page: &FakePage, index: u32) -> (u16, i16) {
    let TxResponse { id, status } = frontend::response::<NetTx>(page, index);
    (id, status)
}

/// Returns a receive response.
pub(crate) fn rx_slot(page: &FakePage, index: u32) -> RxResponse {
    frontend::response::<NetRx>(page, index)
}

/// Returns the identifier and the status of a receive response.
pub(crate) fn rx_response(page: &FakePage, index: u32) -> (u16, i16) {
    let RxResponse { id, status, .. } = frontend::response::<NetRx>(page, index);
    (id, status)
}
