// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages of devices, without a driver's checks: any word can be read and written.
//!
//! `unsafe`: it takes the pages by their address.
#![allow(unsafe_code)]

use noxs::Device;
use unikernel::{Guest, Port};
use xen_abi::PAGE_SIZE;
use xen_ring::RawPage;

/// The pages and the port of the first network interface.
pub(crate) struct Vif {
    pub(crate) transmit_ring: RawPage,
    pub(crate) receive_ring: RawPage,
    /// The grant by which the backend maps the receive ring.
    pub(crate) receive_grant: u32,
    pub(crate) port: Port,
}

/// Takes a page that dom0 shares with this guest.
///
/// # Safety
/// If `address` is a multiple of a page and not 0, the page is mapped for good, and no Rust object
/// lies there.
unsafe fn page_at(address: u64) -> RawPage {
    assert!(
        address != 0 && address.is_multiple_of(PAGE_SIZE as u64),
        "hostile: no page at {address:#x}"
    );
    // A guest is a 64-bit program.
    let Ok(address) = usize::try_from(address) else { panic!("hostile: no page at {address:#x}") };
    // SAFETY: the page must be mapped while the value lives, aligned, and without Rust references.
    // The address is a multiple of a page, as was checked; the page is mapped for good and without
    // Rust objects, by this function's contract.
    unsafe { RawPage::new(core::ptr::with_exposed_provenance_mut(address)) }
}

/// Takes the device page.
pub(crate) fn device_page(guest: &Guest) -> RawPage {
    // SAFETY: the runtime has checked the address and read the device page there, so it is mapped
    // for good. dom0 put it outside of the memory that the map lists as usable, so no Rust object
    // lies there. Xen discards stores to it, which this guest tests.
    unsafe { page_at(guest.device_page_address()) }
}

/// Takes the console's ring and its port.
pub(crate) fn console(guest: &Guest) -> (RawPage, Port) {
    let found = guest.devices().find_map(|device| match device {
        Device::Console(console) => Some(console.backend),
        _ => None,
    });
    let Some(backend) = found else {
        panic!("hostile: no console; remove console = 0 from the config")
    };
    // SAFETY: the devices of a `Guest` are those of the device page and cannot be changed. The
    // runtime has checked that the ring lies in mapped memory, and accesses it only by its address.
    // dom0 put it outside of the memory that the map lists as usable, so no Rust object lies there.
    let ring = unsafe { page_at(backend.rings[0].gfn * PAGE_SIZE as u64) };
    (ring, Port::new(backend.port))
}

/// Takes the rings of the first network interface, and its port.
pub(crate) fn vif(guest: &Guest) -> Vif {
    let Some(vif) = guest.vif() else { panic!("hostile: no vif; add vif = ['...'] to the config") };
    let [transmit, receive] = vif.backend.rings;
    // SAFETY: dom0 put the rings below 4 GiB, all of which the runtime maps for good, and outside
    // of the memory that the map lists as usable, so no Rust object lies there. This program
    // creates no `Net`, so the runtime does not access them.
    let [transmit_ring, receive_ring] =
        [transmit, receive].map(|ring| unsafe { page_at(ring.gfn * PAGE_SIZE as u64) });
    Vif {
        transmit_ring,
        receive_ring,
        receive_grant: receive.grant,
        port: Port::new(vif.backend.port),
    }
}
