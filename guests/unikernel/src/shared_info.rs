// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page that Xen shares with the guest: pending event channels, and the time.
//!
//! `unsafe`: Xen writes the page while the guest reads it.
#![allow(unsafe_code)]

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

use xen_abi::shared_info::{EVTCHN_2L_NR_CHANNELS, SharedInfo, VcpuTimeInfo};

use crate::hypercall::{HypercallError, MapSpace, add_to_physmap};
use crate::layout::{PAGE_SIZE_U64, pointer};
use crate::pvclock::{TimeInfo, WallClock};

/// The page; null until [`map`] has run.
static PAGE: AtomicPtr<SharedInfo> = AtomicPtr::new(null_mut());

/// Maps the page at the free frame `gfn` and masks the ports, because the guest takes no
/// interrupts.
pub(crate) fn map(gfn: u64) -> Result<(), HypercallError> {
    // SAFETY: no part of this program may lie in the frame. `gfn` is an overlay frame, or a page
    // that was taken from the heap for good.
    unsafe { add_to_physmap(MapSpace::SharedInfo, gfn)? };
    let page = pointer(gfn * PAGE_SIZE_U64).cast::<SharedInfo>();
    PAGE.store(page, Ordering::Relaxed);
    // SCHEDOP_poll wakes a vCPU for a port whether it is masked or not. The first word covers all
    // ports that a toolstack allocates.
    // SAFETY: the word must be mapped, aligned, and accessed only atomically. `add_to_physmap` has
    // mapped the page for good, at a page boundary, so the array's first word is aligned; Xen and
    // this program access it only atomically.
    unsafe { AtomicU64::from_ptr((&raw mut (*page).evtchn_mask).cast()) }
        .store(u64::MAX, Ordering::Relaxed);
    Ok(())
}

fn page() -> *mut SharedInfo {
    PAGE.load(Ordering::Relaxed)
}

/// Returns the word with the pending bit of `port`, and the bit.
///
/// # Panics
/// If the page is not mapped, or for a port that cannot exist.
fn pending_word(port: u32) -> (&'static AtomicU64, u64) {
    assert!(!page().is_null() && port < EVTCHN_2L_NR_CHANNELS, "port {port} of shared_info");
    // SAFETY: the word must be mapped, aligned, and accessed only atomically. The page is mapped
    // for good at a page boundary, so the array's words are aligned, and `port` was checked to lie
    // in the array; Xen and this program access the words only atomically.
    let word = unsafe {
        let words = (&raw mut (*page()).evtchn_pending).cast::<u64>();
        AtomicU64::from_ptr(words.add((port / 64) as usize))
    };
    (word, 1 << (port % 64))
}

/// Clears the port's pending event. Returns whether there was one.
pub(crate) fn take_pending(port: u32) -> bool {
    let (word, bit) = pending_word(port);
    // Clear the bit before looking for the work that the event announces; the locked instruction
    // orders the two. Later work sets the bit again.
    word.load(Ordering::Relaxed) & bit != 0 && word.fetch_and(!bit, Ordering::SeqCst) & bit != 0
}

/// Sets the port's pending event, as if one had arrived.
pub(crate) fn set_pending(port: u32) {
    let (word, bit) = pending_word(port);
    word.fetch_or(bit, Ordering::SeqCst);
}

/// Repeats `copy` until Xen did not write the fields during the copy.
///
/// # Safety
/// `version` is an aligned field of a page that is mapped for good, and no Rust reference to it
/// exists.
unsafe fn consistent<T>(version: *mut u32, copy: impl Fn() -> T) -> T {
    // SAFETY: the word must be mapped, aligned, and accessed only atomically. By this function's
    // contract it is mapped for good, aligned and has no references; Xen writes it atomically.
    let version = unsafe { AtomicU32::from_ptr(version) };
    loop {
        // Xen makes the version odd while it writes, and changes it with each write.
        let before = version.load(Ordering::Acquire);
        let value = copy();
        // The copy is complete before the version is read again.
        fence(Ordering::Acquire);
        if before & 1 == 0 && version.load(Ordering::Relaxed) == before {
            return value;
        }
        core::hint::spin_loop();
    }
}

/// Returns the value of the time stamp counter, which `counter` reads, and Xen's system time in
/// nanoseconds at that moment.
///
/// # Panics
/// If the page is not mapped.
pub(crate) fn system_time(counter: impl Fn() -> u64) -> (u64, u64) {
    let page = page();
    assert!(!page.is_null(), "time before shared_info");
    // SAFETY: the page is mapped for good, so vCPU 0's entry lies in it; this takes only its
    // address.
    let time: *mut VcpuTimeInfo = unsafe { &raw mut (*page).vcpu_info[0].time };
    // SAFETY: the entry must be mapped and aligned, without references. It lies in a page that is
    // mapped for good, at the ABI's offset; only this module has its address, and Xen.
    let (info, tsc) = unsafe { read_time(time, counter) };
    (tsc, info.system_time_at(tsc))
}

/// Reads how to convert the time stamp counter to Xen's system time, and the counter. The counter
/// is read together with the factors, because they belong to other values of it after Xen has
/// written them: when the guest was stopped in between, it may run on another CPU.
///
/// # Safety
/// `time` is aligned and in a page that is mapped for good, and no Rust reference to it exists.
unsafe fn read_time(time: *mut VcpuTimeInfo, counter: impl Fn() -> u64) -> (TimeInfo, u64) {
    // SAFETY: `consistent` needs `version` to be aligned, mapped for good, and without references,
    // and the volatile accesses need the same of the other fields. All are fields of `time`, for
    // which it is this function's contract.
    unsafe {
        consistent(&raw mut (*time).version, || {
            let info = TimeInfo {
                tsc_timestamp: (&raw const (*time).tsc_timestamp).read_volatile(),
                system_time: (&raw const (*time).system_time).read_volatile(),
                tsc_to_system_mul: (&raw const (*time).tsc_to_system_mul).read_volatile(),
                tsc_shift: (&raw const (*time).tsc_shift).read_volatile(),
            };
            (info, counter())
        })
    }
}

/// Returns the time of day at which Xen's system time was zero.
///
/// # Panics
/// If the page is not mapped.
pub(crate) fn wall_clock() -> WallClock {
    let page = page();
    assert!(!page.is_null(), "time before shared_info");
    // SAFETY: `wc_version` is an aligned field of a page that is mapped for good, without
    // references. The other fields are read by volatile accesses to their addresses; no references
    // to them exist.
    unsafe {
        consistent(&raw mut (*page).wc_version, || {
            let low = (&raw const (*page).wc_sec).read_volatile();
            let high = (&raw const (*page).wc_sec_hi).read_volatile();
            let nanoseconds = (&raw const (*page).wc_nsec).read_volatile();
            WallClock { seconds: u64::from(high) << 32 | u64::from(low), nanoseconds }
        })
    }
}

#[cfg(test)]
mod tests {
    use core::cell::{Cell, UnsafeCell};

    use super::*;

    /// Xen writes new factors after the guest has read the old ones and before it reads its
    /// counter, which then counts from another number.
    #[test]
    fn the_counter_is_read_with_the_factors_that_belong_to_it() {
        let nanoseconds = VcpuTimeInfo {
            version: 2,
            tsc_timestamp: 5_000_000,
            system_time: 70,
            tsc_to_system_mul: 1 << 31,
            tsc_shift: 1,
            ..VcpuTimeInfo::default()
        };
        let shared = UnsafeCell::new(nanoseconds);
        let reads = Cell::new(0);
        let counter = || {
            reads.set(reads.get() + 1);
            if reads.get() == 1 {
                // SAFETY: a write needs a valid target without references. `shared` lives, and the
                // code under test holds only its address; there is one thread.
                unsafe {
                    *shared.get() = VcpuTimeInfo {
                        version: 4,
                        tsc_timestamp: 1_000,
                        system_time: 90,
                        ..nanoseconds
                    };
                }
            }
            1_500
        };
        // SAFETY: the entry must be aligned, mapped and without references. It is a value of this
        // function, which outlives the call, and no reference to it exists.
        let (info, tsc) = unsafe { read_time(shared.get(), counter) };
        assert_eq!((info.tsc_timestamp, info.system_time, tsc), (1_000, 90, 1_500));
        assert_eq!(info.system_time_at(tsc), 590);
        assert_eq!(reads.get(), 2);
    }
}
