// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls.
//!
//! `unsafe`: the calls are assembly, and Xen reads and writes the guest's memory.
#![allow(unsafe_code)]

#[cfg(not(test))]
use core::arch::asm;

use xen_abi::DOMID_SELF;
use xen_abi::event_channel::{EVTCHNOP_SEND, EvtchnSend};
use xen_abi::hvm::{HVMOP_GET_PARAM, HvmParam};
use xen_abi::hypercall::{
    HYPERVISOR_EVENT_CHANNEL_OP, HYPERVISOR_HVM_OP, HYPERVISOR_MEMORY_OP, HYPERVISOR_SCHED_OP,
};
use xen_abi::memory::{
    AddToPhysmap, XENMAPSPACE_GRANT_TABLE, XENMAPSPACE_SHARED_INFO, XENMEM_ADD_TO_PHYSMAP,
};
#[cfg(feature = "hot-plug")]
use xen_abi::memory::{MemoryReservation, XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP};
use xen_abi::sched::{SCHEDOP_POLL, SCHEDOP_SHUTDOWN, SchedPoll, SchedShutdown};

#[cfg(not(test))]
use crate::layout::{PAGE_SIZE, to_usize};

#[cfg(not(test))]
unsafe extern "C" {
    /// The page that Xen fills with an entry of 32 bytes for each hypercall; see guest.ld.
    static hypercall_page: [u8; PAGE_SIZE];
}

/// The error of a failed hypercall: an errno of `public/errno.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HypercallError {
    /// The positive error number.
    pub(crate) errno: i64,
}

impl core::fmt::Display for HypercallError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Xen error {}", self.errno)
    }
}

/// The register that takes the address of the page to fill. CPUID returns its number, too, but each
/// CPUID instruction is an exit to Xen, which takes half as long as filling the page. Xen uses
/// another number only if it emulates another hypervisor as well, which it never does for a PVH
/// guest.
#[cfg(not(test))]
const HYPERCALL_MSR: u32 = 0x4000_0000;

/// Makes Xen fill the hypercall page. Because this happens in 64-bit mode, Xen also uses the 64-bit
/// layout of `shared_info`, and starts to write the time of day there.
///
/// On a machine without Xen, this causes a general protection fault.
#[cfg(not(test))]
pub(crate) fn initialise() {
    let page = (&raw const hypercall_page).addr();
    // SAFETY: Xen overwrites the page at this address. The linker script reserves the page, nothing
    // else lies in it, and no Rust code reads it.
    unsafe {
        asm!("wrmsr", in("ecx") HYPERCALL_MSR, in("eax") page & 0xffff_ffff, in("edx") page >> 32,
            options(nostack, preserves_flags));
    }
}

/// Fails: a test on the host runs without Xen.
#[cfg(test)]
unsafe fn hypercall2(_: u64, _: u64, _: u64) -> Result<i64, HypercallError> {
    const ENOSYS: i64 = 38;
    Err(HypercallError { errno: ENOSYS })
}

/// # Safety
/// `number` is a hypercall of two arguments. Memory that Xen reads for it is readable until the
/// call returns, and memory that Xen writes is the caller's.
#[cfg(not(test))]
unsafe fn hypercall2(number: u64, argument1: u64, argument2: u64) -> Result<i64, HypercallError> {
    let entry = (&raw const hypercall_page).cast::<u8>().wrapping_add(to_usize(number) * 32);
    let result: i64;
    // SAFETY: the page holds code at this entry, because `initialise` runs before any hypercall.
    // Xen takes the arguments in rdi and rsi, which its debug build clobbers, returns the result in
    // rax, and preserves all other registers. Without `nostack`, the compiler keeps the red zone
    // clear of the return address. The memory is valid by this function's contract.
    unsafe {
        asm!("call {entry}", entry = in(reg) entry, out("rax") result,
            inout("rdi") argument1 => _, inout("rsi") argument2 => _);
    }
    if result < 0 { Err(HypercallError { errno: -result }) } else { Ok(result) }
}

/// Raises an event on the other end of a port.
pub(crate) fn send_event(port: u32) -> Result<(), HypercallError> {
    let argument = EvtchnSend { port };
    // SAFETY: EVTCHNOP_SEND takes an `EvtchnSend` and only reads it; `argument` lives until the
    // call returns.
    unsafe {
        hypercall2(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, (&raw const argument).addr() as u64)
    }
    .map(drop)
}

/// Sleeps until one of the ports is pending, or until Xen's system time is `timeout`, in
/// nanoseconds; 0 means no time-out.
pub(crate) fn poll(ports: &[u32], timeout: u64) -> Result<(), HypercallError> {
    // Xen refuses more than 128 ports, and so the saturated number, too.
    let nr_ports = u32::try_from(ports.len()).unwrap_or(u32::MAX);
    let argument =
        SchedPoll { ports: ports.as_ptr().expose_provenance() as u64, nr_ports, pad: 0, timeout };
    // SAFETY: SCHEDOP_POLL takes a `SchedPoll`, and only reads it and the `nr_ports` ports that it
    // points to; both live until the call returns.
    unsafe { hypercall2(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, (&raw const argument).addr() as u64) }
        .map(drop)
}

/// Shuts the domain down with a reason (`SHUTDOWN_*`).
pub(crate) fn shutdown(reason: u32) -> ! {
    let argument = SchedShutdown { reason };
    // SAFETY: SCHEDOP_SHUTDOWN takes a `SchedShutdown` and only reads it; `argument` lives until
    // the call returns, if it does.
    let _ = unsafe {
        hypercall2(HYPERVISOR_SCHED_OP, SCHEDOP_SHUTDOWN, (&raw const argument).addr() as u64)
    };
    crate::cpu::halt()
}

/// Returns a parameter of this domain (`HVM_PARAM_*` of `public/hvm/params.h`).
pub(crate) fn hvm_param(index: u32) -> Result<u64, HypercallError> {
    let mut argument = HvmParam { domid: DOMID_SELF, pad: 0, index, value: 0 };
    // SAFETY: HVMOP_GET_PARAM takes an `HvmParam`, reads it and writes its `value`; `argument` is
    // this function's own and lives until the call returns.
    unsafe {
        hypercall2(HYPERVISOR_HVM_OP, HVMOP_GET_PARAM, (&raw mut argument).addr() as u64)?;
    }
    Ok(argument.value)
}

/// A page of Xen's that can be mapped into the guest's address space.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum MapSpace {
    /// The page of `struct shared_info`.
    SharedInfo = XENMAPSPACE_SHARED_INFO,
    /// The first frame of the grant table.
    GrantTable = XENMAPSPACE_GRANT_TABLE,
}

/// Maps one of Xen's pages at frame `gfn` of this guest. Xen takes back the memory that was there.
///
/// # Safety
/// No part of this program lies in the frame, now or later.
pub(crate) unsafe fn add_to_physmap(space: MapSpace, gfn: u64) -> Result<(), HypercallError> {
    let argument =
        AddToPhysmap { domid: DOMID_SELF, size: 0, space: space as u32, idx: 0, gpfn: gfn };
    // SAFETY: XENMEM_ADD_TO_PHYSMAP takes an `AddToPhysmap` and only reads it; `argument` lives
    // until the call returns. The call replaces the memory at `gfn`, which this program does not
    // use, by this function's contract.
    unsafe {
        hypercall2(HYPERVISOR_MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, (&raw const argument).addr() as u64)
    }
    .map(drop)
}

/// Returns the memory at these frames of this guest to Xen, in their order. Returns how many it has
/// taken: Xen does not say why not all.
///
/// # Safety
/// No part of this program uses the frames, until they have memory again.
#[cfg(feature = "hot-plug")]
pub(crate) unsafe fn release_frames(frames: &mut [u64]) -> usize {
    // SAFETY: the frames are not used, by this function's contract.
    unsafe { reserve(XENMEM_DECREASE_RESERVATION, frames) }
}

/// Gets memory at these frames of this guest, in their order. Returns how many have got some.
///
/// # Safety
/// The frames have no memory.
#[cfg(feature = "hot-plug")]
pub(crate) unsafe fn populate_frames(frames: &mut [u64]) -> usize {
    // SAFETY: where there is no memory, nothing of this program is replaced.
    unsafe { reserve(XENMEM_POPULATE_PHYSMAP, frames) }
}

/// # Safety
/// The command is `XENMEM_decrease_reservation` or `XENMEM_populate_physmap`, and what it does to the
/// frames harms no part of this program.
#[cfg(feature = "hot-plug")]
unsafe fn reserve(command: u64, frames: &mut [u64]) -> usize {
    let mut argument = MemoryReservation {
        extent_start: frames.as_mut_ptr().expose_provenance() as u64,
        nr_extents: frames.len() as u64,
        domid: DOMID_SELF,
        ..MemoryReservation::default()
    };
    // SAFETY: both commands take a `MemoryReservation`, and read the `nr_extents` numbers that it
    // points to, or write them. Both live until the call returns. The effect on the frames is harmless
    // by this function's contract.
    let done =
        unsafe { hypercall2(HYPERVISOR_MEMORY_OP, command, (&raw mut argument).addr() as u64) };
    done.map_or(0, |done| usize::try_from(done).unwrap_or(0).min(frames.len()))
}
