//! Hypercalls: how a guest asks Xen for something.
//!
//! `unsafe`, because the calls are assembly and Xen reads and writes the guest's memory.
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
use xen_abi::sched::{SCHEDOP_POLL, SCHEDOP_SHUTDOWN, SchedPoll, SchedShutdown};

#[cfg(not(test))]
use crate::layout::{PAGE_SIZE, to_usize};

#[cfg(not(test))]
unsafe extern "C" {
    /// The page Xen fills with one entry of 32 bytes for each hypercall; see guest.ld.
    static hypercall_page: [u8; PAGE_SIZE];
}

/// What Xen refuses a hypercall with: an errno of `public/errno.h`.
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

/// The register that takes the address of the page to fill. CPUID tells its number too, but Xen
/// has another one only where it also plays another hypervisor, which it never does for a PVH
/// guest; and each CPUID instruction is an exit to Xen, half of what filling the page takes.
#[cfg(not(test))]
const HYPERCALL_MSR: u32 = 0x4000_0000;

/// Asks Xen to fill the hypercall page. Doing so in 64-bit mode also tells Xen that `shared_info`
/// has the 64-bit layout, and makes it tell the time of day there.
///
/// On a machine without Xen this is a general protection fault.
#[cfg(not(test))]
pub(crate) fn initialise() {
    let page = (&raw const hypercall_page).addr();
    // SAFETY: Xen fills the page at the address given. The page is
    // the linker script's own; nothing else lies in it, and no Rust code reads it.
    unsafe {
        asm!("wrmsr", in("ecx") HYPERCALL_MSR, in("eax") page & 0xffff_ffff, in("edx") page >> 32,
            options(nostack, preserves_flags));
    }
}

/// On the host there is no Xen: everything is refused.
#[cfg(test)]
unsafe fn hypercall2(_: u64, _: u64, _: u64) -> Result<i64, HypercallError> {
    const ENOSYS: i64 = 38;
    Err(HypercallError { errno: ENOSYS })
}

/// # Safety
/// `number` must be a hypercall of two arguments that is sound to make with these: memory that it
/// reads is readable, and memory that it writes is the caller's.
#[cfg(not(test))]
unsafe fn hypercall2(number: u64, argument1: u64, argument2: u64) -> Result<i64, HypercallError> {
    let entry = (&raw const hypercall_page).cast::<u8>().wrapping_add(to_usize(number) * 32);
    let result: i64;
    // SAFETY: `initialise` ran before any other code of the runtime, so the page holds code at
    // this entry. Xen's convention: arguments in rdi and rsi, which a debug build of Xen clobbers,
    // the result in rax; all other registers survive. Without `nostack`, the return address
    // cannot hit the red zone. The caller vouches for the memory.
    unsafe {
        asm!("call {entry}", entry = in(reg) entry, out("rax") result,
            inout("rdi") argument1 => _, inout("rsi") argument2 => _);
    }
    if result < 0 { Err(HypercallError { errno: -result }) } else { Ok(result) }
}

/// Raises an event on the other end of a port.
pub(crate) fn send_event(port: u32) -> Result<(), HypercallError> {
    let argument = EvtchnSend { port };
    // SAFETY: the operation reads `argument`, which lives until the call returns.
    unsafe {
        hypercall2(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, (&raw const argument).addr() as u64)
    }
    .map(drop)
}

/// Sleeps until one of the ports is pending, or until Xen's system time `timeout`, in nanoseconds;
/// 0 means for ever.
pub(crate) fn poll(ports: &[u32], timeout: u64) -> Result<(), HypercallError> {
    // Xen refuses more than 128; this is more than that, should there ever be so many.
    let nr_ports = u32::try_from(ports.len()).unwrap_or(u32::MAX);
    let argument =
        SchedPoll { ports: ports.as_ptr().expose_provenance() as u64, nr_ports, pad: 0, timeout };
    // SAFETY: the operation reads `argument` and the `nr_ports` ports it points to; both live
    // until the call returns. Xen writes to neither.
    unsafe { hypercall2(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, (&raw const argument).addr() as u64) }
        .map(drop)
}

/// Ends the domain for the reason given (`SHUTDOWN_*`).
pub(crate) fn shutdown(reason: u32) -> ! {
    let argument = SchedShutdown { reason };
    // SAFETY: the operation reads `argument`, which lives until the call returns, if it does.
    let _ = unsafe {
        hypercall2(HYPERVISOR_SCHED_OP, SCHEDOP_SHUTDOWN, (&raw const argument).addr() as u64)
    };
    crate::cpu::halt()
}

/// A parameter of this domain (`HVM_PARAM_*` of `public/hvm/params.h`).
pub(crate) fn hvm_param(index: u32) -> Result<u64, HypercallError> {
    let mut argument = HvmParam { domid: DOMID_SELF, pad: 0, index, value: 0 };
    // SAFETY: the operation reads `argument` and writes its `value`; it lives until the call returns.
    unsafe {
        hypercall2(HYPERVISOR_HVM_OP, HVMOP_GET_PARAM, (&raw mut argument).addr() as u64)?;
    }
    Ok(argument.value)
}

/// What Xen can put into a guest's address space.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum MapSpace {
    /// The page of `struct shared_info`.
    SharedInfo = XENMAPSPACE_SHARED_INFO,
    /// The first frame of the grant table.
    GrantTable = XENMAPSPACE_GRANT_TABLE,
}

/// Puts a page of Xen's at frame `gfn` of this guest. What memory was there goes back to Xen.
///
/// # Safety
/// Nothing of this program may lie in the frame.
pub(crate) unsafe fn add_to_physmap(space: MapSpace, gfn: u64) -> Result<(), HypercallError> {
    let argument =
        AddToPhysmap { domid: DOMID_SELF, size: 0, space: space as u32, idx: 0, gpfn: gfn };
    // SAFETY: the operation reads `argument`, which lives until the call returns. That the memory
    // at `gfn` is replaced harms nobody, as the caller promises.
    unsafe {
        hypercall2(HYPERVISOR_MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, (&raw const argument).addr() as u64)
    }
    .map(drop)
}
