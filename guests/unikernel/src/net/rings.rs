//! The slots of a network interface's rings (`public/io/netif.h`), which `xen-sys` lacks.
//!
//! `unsafe`, because it promises what the slots may hold and takes the ring pages by their address.
#![allow(unsafe_code)]

use noxs::Backend;

use crate::layout::{MAPPED, PAGE_SIZE_U64, pointer};
use crate::ring::{FrontRing, Protocol};

/// `struct netif_tx_request`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct TxRequest {
    pub(crate) gref: u32,
    pub(crate) offset: u16,
    pub(crate) flags: u16,
    pub(crate) id: u16,
    pub(crate) size: u16,
}

/// `struct netif_tx_response`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct TxResponse {
    pub(crate) id: u16,
    pub(crate) status: i16,
}

/// `struct netif_rx_request`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RxRequest {
    pub(crate) id: u16,
    pub(crate) pad: u16,
    pub(crate) gref: u32,
}

/// `struct netif_rx_response`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RxResponse {
    pub(crate) id: u16,
    pub(crate) offset: u16,
    pub(crate) flags: u16,
    /// Bytes of the frame, or an error below zero.
    pub(crate) status: i16,
}

const _: () = assert!(size_of::<TxRequest>() == 12 && size_of::<TxResponse>() == 4);
const _: () = assert!(size_of::<RxRequest>() == 8 && size_of::<RxResponse>() == 8);

/// The ring of sent frames.
#[derive(Debug)]
pub(crate) enum Tx {}

/// The ring of received frames.
#[derive(Debug)]
pub(crate) enum Rx {}

// SAFETY: the structures consist of integers and their sizes, checked above, leave no padding.
unsafe impl Protocol for Tx {
    type Request = TxRequest;
    type Response = TxResponse;
}

// SAFETY: as above.
unsafe impl Protocol for Rx {
    type Request = RxRequest;
    type Response = RxResponse;
}

/// The rings of an interface: what it sends on and what it receives on.
///
/// # Panics
/// If the rings are not in the guest's memory: dom0's error.
pub(crate) fn rings(backend: &Backend<2>) -> (FrontRing<Tx>, FrontRing<Rx>) {
    let [tx, rx] = backend.rings.map(|ring| {
        let address = ring.gfn.saturating_mul(PAGE_SIZE_U64);
        assert!(address != 0 && address < MAPPED, "a vif's ring is at {address:#x}");
        pointer(address)
    });
    // SAFETY: the pages are aligned and mapped. They come from dom0, which made them for this
    // purpose, outside of what its memory map lists as usable: no Rust object lies there. A vif is
    // taken once, by `Net::new`, which consumes the guest's devices.
    unsafe { (FrontRing::new(tx), FrontRing::new(rx)) }
}
