// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rings of a network interface.

use noxs::Backend;
use xen_ring::{FrontRing, NetRx, NetTx, RawPage};

use crate::device_page::ring_page;

/// The ring of sent frames.
pub(crate) type TxRing = FrontRing<NetTx, RawPage>;

/// The ring of received frames.
pub(crate) type RxRing = FrontRing<NetRx, RawPage>;

/// Takes the rings of an interface: the one for sending, and the one for receiving.
///
/// # Panics
/// If the rings are not in the guest's memory, which is an error of dom0.
pub(crate) fn rings(backend: &Backend<2>) -> (TxRing, RxRing) {
    let [tx, rx] = &backend.rings;
    (FrontRing::new(ring_page(tx)), FrontRing::new(ring_page(rx)))
}
