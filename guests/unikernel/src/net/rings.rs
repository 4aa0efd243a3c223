// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rings of a network interface.
//!
//! `unsafe`: it takes the ring pages by their address.
#![allow(unsafe_code)]

use noxs::layout::vif_ring;
use noxs::{Backend, VifFeatures};
use xen_ring::{FrontRing, NetRx, NetTx, RawPage, SharedPage};

use crate::layout::{MAPPED, PAGE_SIZE_U64, pointer};

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
    let [tx, rx] = backend.rings.map(|ring| {
        let address = ring.gfn.saturating_mul(PAGE_SIZE_U64);
        assert!(address != 0 && address < MAPPED, "a vif's ring is at {address:#x}");
        // SAFETY: the page must be mapped while the value lives, aligned, and without Rust
        // references. The address is a multiple of a page, not 0, and below `MAPPED`, all of which
        // is mapped for good. It comes from dom0, which put the ring outside of the memory that the
        // map lists as usable, so no Rust object lies there.
        unsafe { RawPage::new(pointer(address)) }
    });
    rx.store(vif_ring::ACCEPTED, accepted.0);
    (FrontRing::new(tx), FrontRing::new(rx))
}
