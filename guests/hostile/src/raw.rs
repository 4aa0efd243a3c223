// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages of devices, without a driver's checks: any word can be read and written. And what a
//! driver does not do with its own pages and ports.
//!
//! `unsafe`: it takes the pages by their address, and calls Xen.
#![allow(unsafe_code)]

use alloc::alloc::{Layout, alloc_zeroed};
use core::arch::asm;

use noxs::Device;
use noxs::layout::header;
use unikernel::{Guest, Instant, Port};
use xen_abi::event_channel::{EVTCHNOP_CLOSE, EvtchnClose};
use xen_abi::hypercall::{HYPERVISOR_EVENT_CHANNEL_OP, HYPERVISOR_MEMORY_OP, HYPERVISOR_SCHED_OP};
use xen_abi::memory::{
    AddToPhysmap, MemoryReservation, XENMAPSPACE_GRANT_TABLE, XENMEM_ADD_TO_PHYSMAP,
    XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP,
};
use xen_abi::sched::{SCHEDOP_POLL, SCHEDOP_SHUTDOWN, SchedPoll, SchedShutdown};
use xen_abi::{DOMID_SELF, PAGE_SIZE};
use xen_ring::{RawPage, SharedPage};

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

/// The ring and the port of a disk.
pub(crate) struct Disk {
    pub(crate) ring: RawPage,
    pub(crate) port: Port,
}

/// Takes the ring of a disk, and its port.
pub(crate) fn disk(guest: &Guest, number: usize) -> Disk {
    let Some(disk) = guest.disks().nth(number) else {
        panic!("hostile: no disk {number}; add it to disk = [...] in the config")
    };
    // SAFETY: as the rings of a vif, below: dom0 put the ring below 4 GiB, all of which the runtime
    // maps for good, and outside of the memory that the map lists as usable, so no Rust object lies
    // there. This program opens no disk of the runtime's.
    let ring = unsafe { page_at(disk.backend.rings[0].gfn * PAGE_SIZE as u64) };
    Disk { ring, port: Port::new(disk.backend.port) }
}

/// Takes the page with the answers to power requests.
pub(crate) fn answer_page(guest: &Guest) -> RawPage {
    let gfn = device_page(guest).load(header::SYSCTL_ANSWER_GFN);
    // SAFETY: dom0 put the page below 4 GiB, all of which the runtime maps for good, and outside of
    // the memory that the map lists as usable, so no Rust object lies there.
    unsafe { page_at(u64::from(gfn) * PAGE_SIZE as u64) }
}

/// Allocates a page of zeros, which is never freed. Returns it with its frame number.
pub(crate) fn page() -> (RawPage, u32) {
    let Ok(layout) = Layout::from_size_align(PAGE_SIZE, PAGE_SIZE) else {
        panic!("hostile: a page has no layout")
    };
    // SAFETY: the layout's size is not 0.
    let address = unsafe { alloc_zeroed(layout) };
    let Ok(gfn) = u32::try_from(address.expose_provenance() / PAGE_SIZE) else {
        panic!("hostile: a page at {address:?}")
    };
    assert!(gfn != 0, "hostile: no memory for a page");
    // SAFETY: a page at this address was just allocated, and is never freed, so no other Rust object
    // lies there.
    (unsafe { RawPage::new(address) }, gfn)
}

/// Maps the first page of the grant table at the second overlay frame (`docs/noxs-abi.md`). Returns
/// it with its frame number.
pub(crate) fn grant_table(guest: &Guest) -> (RawPage, u32) {
    let gfn = device_page(guest).load(header::OVERLAY_GFN) + 1;
    assert_eq!(cover(gfn), 0, "hostile: the grant table cannot be mapped");
    // SAFETY: the frame is below 4 GiB, all of which the runtime maps for good, and outside of the
    // memory that the map lists as usable, so no Rust object lies there. Xen has just mapped the
    // table there.
    (unsafe { page_at(u64::from(gfn) * PAGE_SIZE as u64) }, gfn)
}

/// Returns a page to Xen, and Xen's result. It must be one of dom0's, in which no Rust object lies.
pub(crate) fn balloon(gfn: u32) -> i64 {
    // No Rust object lies in the page, by this function's contract.
    change_reservation(XENMEM_DECREASE_RESERVATION, gfn)
}

/// Puts new memory at a frame. Returns Xen's result. Nothing may be at the frame.
pub(crate) fn populate(gfn: u32) -> i64 {
    change_reservation(XENMEM_POPULATE_PHYSMAP, gfn)
}

/// Carries out `XENMEM_decrease_reservation` or `XENMEM_populate_physmap` for one frame, in which no
/// Rust object lies. Returns Xen's result.
fn change_reservation(command: u64, gfn: u32) -> i64 {
    let frame = u64::from(gfn);
    let argument = MemoryReservation {
        extent_start: (&raw const frame).expose_provenance() as u64,
        nr_extents: 1,
        domid: DOMID_SELF,
        ..MemoryReservation::default()
    };
    // SAFETY: both commands take a `MemoryReservation`, and only read it and the frame number that it
    // points to: a PVH guest is translated, and Xen returns frame numbers to others only. Both live
    // until the call returns. No Rust object lies in the frame, by this function's contract.
    unsafe { call(HYPERVISOR_MEMORY_OP, command, (&raw const argument).addr()) }
}

/// Maps the grant table at a frame. Returns Xen's result. No Rust object may lie in the frame.
pub(crate) fn cover(gfn: u32) -> i64 {
    let argument = AddToPhysmap {
        domid: DOMID_SELF,
        size: 0,
        space: XENMAPSPACE_GRANT_TABLE,
        idx: 0,
        gpfn: gfn.into(),
    };
    // SAFETY: XENMEM_add_to_physmap takes an `AddToPhysmap` and only reads it; it lives until the
    // call returns. No Rust object lies in the frame, by this function's contract.
    unsafe { call(HYPERVISOR_MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, (&raw const argument).addr()) }
}

/// Closes this guest's end of an event channel. Returns Xen's result.
pub(crate) fn close(port: u32) -> i64 {
    let argument = EvtchnClose { port };
    // SAFETY: EVTCHNOP_close takes an `EvtchnClose` and only reads it; it lives until the call
    // returns.
    unsafe { call(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, (&raw const argument).addr()) }
}

/// Shuts this guest down at once, without a word.
pub(crate) fn shutdown(reason: u32) -> ! {
    let argument = SchedShutdown { reason };
    // SAFETY: SCHEDOP_shutdown takes a `SchedShutdown` and only reads it; it lives until the call
    // returns, if it does.
    unsafe { call(HYPERVISOR_SCHED_OP, SCHEDOP_SHUTDOWN, (&raw const argument).addr()) };
    panic!("hostile: Xen has not shut this guest down")
}

/// Sleeps until `deadline`, without serving power requests as the runtime's waits do.
pub(crate) fn sleep(deadline: Instant) {
    let argument = SchedPoll { timeout: deadline.as_nanos().max(1), ..SchedPoll::default() };
    // SAFETY: SCHEDOP_poll takes a `SchedPoll` and only reads it; it has no ports, and lives until
    // the call returns.
    unsafe { call(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, (&raw const argument).addr()) };
}

/// Executes an instruction that does not exist.
pub(crate) fn fault() -> ! {
    // SAFETY: the instruction raises an exception, whose handler does not return.
    unsafe { asm!("ud2", options(noreturn, nomem, nostack)) }
}

unsafe extern "C" {
    /// The runtime's page of hypercalls, which has an entry of 32 bytes for each.
    static hypercall_page: [u8; PAGE_SIZE];
}

/// Calls Xen. Returns its result.
///
/// # Safety
/// `number` is a hypercall of two arguments, of which the second is an address. What Xen reads there
/// is readable until the call returns, and Xen writes nothing there.
unsafe fn call(number: u64, operation: u64, argument: usize) -> i64 {
    let Ok(number) = usize::try_from(number) else { panic!("hostile: hypercall {number}") };
    let entry = (&raw const hypercall_page).cast::<u8>().wrapping_add(number * 32);
    let result: i64;
    // SAFETY: the runtime has filled the page with code before `main`. Xen takes the arguments in
    // rdi and rsi, which its debug build clobbers, returns the result in rax, and preserves all other
    // registers. The memory is valid by this function's contract.
    unsafe {
        asm!("call {entry}", entry = in(reg) entry, out("rax") result,
            inout("rdi") operation => _, inout("rsi") argument => _);
    }
    result
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
