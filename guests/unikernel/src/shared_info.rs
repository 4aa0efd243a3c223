//! The page Xen shares with the guest: which event channels are pending, and what time it is.
//!
//! `unsafe`, because Xen writes the page while the guest reads it.
#![allow(unsafe_code)]

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

use xen_abi::shared_info::{EVTCHN_2L_NR_CHANNELS, SharedInfo, VcpuTimeInfo};

use crate::clock::{TimeInfo, WallClock};
use crate::hypercall::{HypercallError, MapSpace, add_to_physmap};
use crate::layout::{PAGE_SIZE_U64, pointer};

/// Where the page is; null until [`map`] has run.
static PAGE: AtomicPtr<SharedInfo> = AtomicPtr::new(null_mut());

/// Maps the page at frame `gfn`, which is free, and masks the ports: the guest takes no
/// interrupts, so nobody has to be interrupted for an event.
pub(crate) fn map(gfn: u64) -> Result<(), HypercallError> {
    // SAFETY: `gfn` is an overlay frame or a page that the heap gave away for good: nothing of
    // this program lies there.
    unsafe { add_to_physmap(MapSpace::SharedInfo, gfn)? };
    let page = pointer(gfn * PAGE_SIZE_U64).cast::<SharedInfo>();
    PAGE.store(page, Ordering::Relaxed);
    // A waiting vCPU is woken by its ports whether they are masked or not (SCHEDOP_poll). The
    // first word has all ports that a toolstack gives out.
    // SAFETY: the page is mapped since `add_to_physmap` returned, for good and aligned to a page, so
    // the array's first word is aligned. Xen and this program touch it only atomically.
    unsafe { AtomicU64::from_ptr((&raw mut (*page).evtchn_mask).cast()) }
        .store(u64::MAX, Ordering::Relaxed);
    Ok(())
}

fn page() -> *mut SharedInfo {
    PAGE.load(Ordering::Relaxed)
}

/// The word of pending bits that has `port`'s, and the bit.
///
/// # Panics
/// If the page is not mapped, or for a port that cannot exist.
fn pending_word(port: u32) -> (&'static AtomicU64, u64) {
    assert!(!page().is_null() && port < EVTCHN_2L_NR_CHANNELS, "port {port} of shared_info");
    // SAFETY: `page` is mapped, for good and aligned to a page, so the array's words are aligned;
    // `port` was checked to lie in it. Xen and this program touch the words only atomically.
    let word = unsafe {
        let words = (&raw mut (*page()).evtchn_pending).cast::<u64>();
        AtomicU64::from_ptr(words.add((port / 64) as usize))
    };
    (word, 1 << (port % 64))
}

/// Takes the port's event, if one has come.
pub(crate) fn take_pending(port: u32) -> bool {
    let (word, bit) = pending_word(port);
    // The bit is cleared before what the event announces is looked at (a read-modify-write with
    // a lock prefix orders both): what comes later sets the bit again.
    word.load(Ordering::Relaxed) & bit != 0 && word.fetch_and(!bit, Ordering::SeqCst) & bit != 0
}

/// Makes it as if an event had come to the port.
pub(crate) fn set_pending(port: u32) {
    let (word, bit) = pending_word(port);
    word.fetch_or(bit, Ordering::SeqCst);
}

/// Copies what `copy` reads, again and again until Xen did not write meanwhile.
///
/// # Safety
/// `version` is an aligned field of the mapped page, which nothing refers to but by its address.
unsafe fn consistent<T>(version: *mut u32, copy: impl Fn() -> T) -> T {
    // SAFETY: the caller vouches that the field is mapped, for good, aligned and without references;
    // Xen writes it atomically.
    let version = unsafe { AtomicU32::from_ptr(version) };
    loop {
        // The version is read before and after the copy; it is odd while Xen writes.
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

/// How the time stamp counter gives Xen's system time.
///
/// # Panics
/// If the page is not mapped.
pub(crate) fn time_info() -> TimeInfo {
    let page = page();
    assert!(!page.is_null(), "time before shared_info");
    // SAFETY: the page is mapped for good; this only makes a pointer to vCPU 0's entry in it.
    let time: *mut VcpuTimeInfo = unsafe { &raw mut (*page).vcpu_info[0].time };
    // SAFETY: `version` is an aligned field of the mapped page. The other fields are read once each,
    // volatile and by their address; no reference to any of them exists.
    unsafe {
        consistent(&raw mut (*time).version, || TimeInfo {
            tsc_timestamp: (&raw const (*time).tsc_timestamp).read_volatile(),
            system_time: (&raw const (*time).system_time).read_volatile(),
            tsc_to_system_mul: (&raw const (*time).tsc_to_system_mul).read_volatile(),
            tsc_shift: (&raw const (*time).tsc_shift).read_volatile(),
        })
    }
}

/// When Xen's system time was zero.
///
/// # Panics
/// If the page is not mapped.
pub(crate) fn wall_clock() -> WallClock {
    let page = page();
    assert!(!page.is_null(), "time before shared_info");
    // SAFETY: `wc_version` is an aligned field of the mapped page. The other fields are read once
    // each, volatile and by their address; no reference to any of them exists.
    unsafe {
        consistent(&raw mut (*page).wc_version, || {
            let low = (&raw const (*page).wc_sec).read_volatile();
            let high = (&raw const (*page).wc_sec_hi).read_volatile();
            let nanoseconds = (&raw const (*page).wc_nsec).read_volatile();
            WallClock { seconds: u64::from(high) << 32 | u64::from(low), nanoseconds }
        })
    }
}
