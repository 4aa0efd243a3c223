// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rings of a network interface.

use noxs::layout::vif_ring;
use noxs::{Backend, VifFeatures};
use xen_ring::{FrontRing, NetRx, NetTx, RawPage, SharedPage};

use crate::device_page::ring_page;

/// The ring of sent frames.
pub(crate) type TxRing = FrontRing<NetTx, RawPage>;

/// The ring of received frames.
pub(crate) type RxRing = FrontRing<NetRx, RawPage>;

/// Takes the rings of an interface: the one for sending, and the one for receiving. Announces to the
/// backend what the guest can receive.
///
/// # Panics
/// If the rings are not in the guest's memory, which is an error of dom0.
pub(crate) fn rings(backend: &Backend<2>, accepted: VifFeatures) -> (TxRing, RxRing) {
    let [tx, rx] = &backend.rings;
    let rx = ring_page(rx);
    // The buffers are granted once, for good.
    let accepted = accepted | VifFeatures::PERSISTENT_GRANTS;
    rx.store(vif_ring::ACCEPTED, accepted.0);
    (FrontRing::new(ring_page(tx)), FrontRing::new(rx))
}
