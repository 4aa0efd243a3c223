//! The pages of devices, without the checks and the order of a driver: any word can be read and
//! written.
//!
//! `unsafe`, because it takes the pages by their address.
#![allow(unsafe_code)]

use noxs::Device;
use unikernel::{Guest, Port};
use xen_abi::PAGE_SIZE;
use xen_ring::RawPage;

/// What belongs to the first network interface.
pub(crate) struct Vif {
    pub(crate) transmit_ring: RawPage,
    pub(crate) receive_ring: RawPage,
    /// Grant under which the backend has the receive ring.
    pub(crate) receive_grant: u32,
    pub(crate) port: Port,
}

/// Takes a page that dom0 shares with this guest.
///
/// # Safety
/// The page at `address` is mapped for good, and no Rust object lies there.
unsafe fn page_at(address: u64) -> RawPage {
    assert!(
        address != 0 && address.is_multiple_of(PAGE_SIZE as u64),
        "hostile: no page at {address:#x}"
    );
    // A guest is a 64-bit program.
    let Ok(address) = usize::try_from(address) else { panic!("hostile: no page at {address:#x}") };
    // SAFETY: the address is page-aligned; the caller promised the rest.
    unsafe { RawPage::new(core::ptr::with_exposed_provenance_mut(address)) }
}

/// Takes the device page.
pub(crate) fn device_page(guest: &Guest) -> RawPage {
    // SAFETY: the runtime has read the device page at this address, after its own checks, so it is
    // mapped. dom0 made it beside the guest's memory, so no Rust object lies there. It cannot be
    // written, which this guest is to find out: a store to it is discarded.
    unsafe { page_at(guest.device_page_address()) }
}

/// Takes the console's ring and its port.
pub(crate) fn console(guest: &Guest) -> (RawPage, Port) {
    let found = guest.devices().find_map(|device| match device {
        Device::Console(console) => Some(console.backend),
        _ => None,
    });
    let Some(backend) = found else { panic!("hostile: this needs a console") };
    // SAFETY: a `Guest`'s devices are those of the device page and cannot be changed: dom0 made the
    // ring beside the guest's memory, so no Rust object lies there. The runtime has checked that it
    // is mapped, and itself touches it only by its address.
    let ring = unsafe { page_at(backend.rings[0].gfn * PAGE_SIZE as u64) };
    (ring, Port::new(backend.port))
}

/// Takes the rings of the first network interface, and its port.
pub(crate) fn vif(guest: &Guest) -> Vif {
    let Some(vif) = guest.vif() else { panic!("hostile: this needs a vif") };
    let [transmit, receive] = vif.backend.rings;
    // SAFETY: dom0 made the rings beside the guest's memory, so no Rust object lies there, and below
    // 4 GiB, all of which the runtime has mapped. Only this program uses them: it makes no `Net`.
    let [transmit_ring, receive_ring] =
        [transmit, receive].map(|ring| unsafe { page_at(ring.gfn * PAGE_SIZE as u64) });
    Vif {
        transmit_ring,
        receive_ring,
        receive_grant: receive.grant,
        port: Port::new(vif.backend.port),
    }
}
