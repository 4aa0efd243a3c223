// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's heap: the talc allocator over all free memory.
//!
//! `unsafe`: it is the global allocator and returns raw memory.
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::ops::Range;

use talc::TalcCell;
use talc::source::Manual;

use crate::layout::{PAGE_SIZE, pointer, to_usize};

struct Heap(TalcCell<Manual>);

// SAFETY: the value must not be used by two threads at the same time. A guest has one vCPU and runs
// with interrupts off, so no two uses overlap; an exception handler does not return and does not
// allocate. In tests, one test at a time uses the heap.
unsafe impl Sync for Heap {}

#[cfg_attr(not(test), global_allocator)]
static HEAP: Heap = Heap(TalcCell::new(Manual));

// SAFETY: an allocator must return memory that fits the layout and is not in use, and must not
// unwind. Each method calls the same method of talc, whose implementation of this trait ensures it.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: talc needs a layout of a size other than 0, which is this method's contract.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: talc needs a pointer that it returned for this layout, which is this method's
        // contract: all pointers of this allocator are talc's.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: talc needs a pointer that it returned for this layout, and a new size that is
        // valid for its alignment, which is this method's contract: all pointers of this allocator
        // are talc's.
        unsafe { self.0.realloc(pointer, layout, new_size) }
    }
}

/// How much memory the heap has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in use, the allocator's own overhead included; without what was given back to Xen.
    pub used: usize,
    /// Bytes that are free, perhaps not in one piece.
    pub free: usize,
}

/// Returns how much memory the heap has now. Takes a few instructions.
#[must_use]
pub fn usage() -> Usage {
    let counters = HEAP.0.counters();
    let free = counters.available_bytes;
    #[cfg(feature = "hot-plug")]
    let given_back = crate::balloon::bytes();
    #[cfg(not(feature = "hot-plug"))]
    let given_back = 0;
    Usage { used: (counters.claimed_bytes - free).saturating_sub(given_back), free }
}

/// Returns the bytes that are free.
#[cfg(feature = "hot-plug")]
pub(crate) fn available() -> usize {
    HEAP.0.counters().available_bytes
}

/// Returns whether one piece of `bytes` bytes can be allocated now.
#[must_use]
pub fn can_allocate(bytes: usize) -> bool {
    let Ok(layout) = Layout::from_size_align(bytes.max(1), 16) else { return false };
    // SAFETY: `alloc` needs a layout of a size other than 0; it is at least 1.
    let pointer = unsafe { HEAP.alloc(layout) };
    if !pointer.is_null() {
        // SAFETY: `pointer` was just allocated with this layout, and there is no other copy of it.
        unsafe { HEAP.dealloc(pointer, layout) };
    }
    !pointer.is_null()
}

/// Adds memory to the heap.
///
/// # Safety
/// The memory is mapped and writable, and nothing else uses it, now or later.
pub(crate) unsafe fn add(memory: Range<u64>) {
    let base = pointer(memory.start);
    // This fails if the piece is too small for talc; then it stays unused.
    // SAFETY: talc needs memory that is readable, writable, and used by nothing else, which is this
    // function's contract.
    let _ = unsafe { HEAP.0.claim(base, to_usize(memory.end - memory.start)) };
}

/// Whole pages of the heap that no code accesses: their memory may be given back to Xen. The allocator
/// keeps nothing in what it has allocated.
#[cfg(feature = "hot-plug")]
#[derive(Debug)]
pub(crate) struct Pages {
    start: *mut u8,
    count: usize,
}

#[cfg(feature = "hot-plug")]
impl Pages {
    /// Allocates pages; `None` if there are not so many next to each other.
    pub(crate) fn allocate(count: usize) -> Option<Self> {
        let layout = Self::layout(count)?;
        // SAFETY: `alloc` needs a layout of a size other than 0, which `layout` ensures.
        let start = unsafe { HEAP.alloc(layout) };
        (!start.is_null()).then_some(Self { start, count })
    }

    fn layout(count: usize) -> Option<Layout> {
        let bytes = count.checked_mul(PAGE_SIZE).filter(|bytes| *bytes > 0)?;
        Layout::from_size_align(bytes, PAGE_SIZE).ok()
    }

    /// Returns the number of the first frame.
    pub(crate) fn first_frame(&self) -> u64 {
        (self.start.expose_provenance() / PAGE_SIZE) as u64
    }

    /// Returns the number of pages.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Frees all pages but the first `count`. Those that are freed must have memory.
    pub(crate) fn truncate(mut self, count: usize) -> Option<Self> {
        let layout = Self::layout(self.count)?;
        match Self::layout(count) {
            // SAFETY: `dealloc` needs what `alloc` returned, with its layout; `start` was allocated
            // with `count` pages, or has shrunk to them. There is no other copy of the pointer.
            None => unsafe { HEAP.dealloc(self.start, layout) },
            Some(smaller) => {
                // SAFETY: `realloc` needs what `alloc` returned, with its layout, and a size other than
                // 0. talc shrinks in place, without an access to what remains.
                self.start = unsafe { HEAP.realloc(self.start, layout, smaller.size()) };
                self.count = count;
                return Some(self);
            }
        }
        None
    }
}

/// Allocates memory that is never freed and not zeroed, for buffers that a device or a socket
/// overwrites. Returns `None` if there is not enough.
pub(crate) fn take(bytes: usize, align: usize) -> Option<&'static mut [u8]> {
    let layout = Layout::from_size_align(bytes.max(1), align).ok()?;
    // SAFETY: `alloc` needs a layout of a size other than 0; it is at least 1.
    let pointer = unsafe { HEAP.0.alloc(layout) };
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the slice must be valid, initialized, and have no other reference for its lifetime.
    // It was just allocated with this length, and it is never freed. Its bytes came from outside of
    // the program (Xen populated the memory, and `add` took it by address), so they have some
    // value, and every value is a valid `u8`.
    Some(unsafe { core::slice::from_raw_parts_mut(pointer, bytes) })
}

/// Allocates whole pages that are never freed, to share with another domain. Returns `None` if
/// there are not enough.
pub(crate) fn take_pages(count: usize) -> Option<*mut u8> {
    take(count * PAGE_SIZE, PAGE_SIZE).map(<[u8]>::as_mut_ptr)
}

/// Allocates a page that is never freed and returns its frame number, to map a page of Xen's there.
pub(crate) fn take_frame() -> Option<u64> {
    take_pages(1).map(|page| (page.expose_provenance() / PAGE_SIZE) as u64)
}

/// What tests of devices share: the heap has memory of the host's, and one test at a time uses it.
#[cfg(test)]
pub(crate) mod testing {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::add;
    use crate::layout::{PAGE_SIZE, PAGE_SIZE_U64};

    static USER: Mutex<()> = Mutex::new(());

    /// The right to use the heap.
    pub(crate) struct Arena {
        pub(crate) user: MutexGuard<'static, ()>,
        /// The upper part of the frame numbers of the heap, which does not fit into the grant table.
        pub(crate) upper: u64,
    }

    impl Arena {
        /// Adds memory to the heap, in bytes.
        pub(crate) fn new(memory: usize) -> Self {
            let user = USER.lock().unwrap_or_else(PoisonError::into_inner);
            let arena = std::vec![0xa5u8; memory].leak().as_mut_ptr_range();
            let (start, end) =
                (arena.start.expose_provenance() as u64, arena.end.expose_provenance() as u64);
            // SAFETY: the heap needs memory that is mapped, writable, and used by nothing else. The
            // arena was just leaked, and there is no other reference to it.
            unsafe { add(start..end) };
            let upper = (start / PAGE_SIZE_U64) & !u64::from(u32::MAX);
            assert_eq!(upper, (end / PAGE_SIZE_U64) & !u64::from(u32::MAX));
            Self { user, upper }
        }
    }

    /// Returns a page of zeros that is never freed.
    pub(crate) fn test_page() -> *mut u8 {
        let start = std::vec![0u64; PAGE_SIZE / 4].leak().as_mut_ptr().cast::<u8>();
        start.wrapping_add(start.align_offset(PAGE_SIZE))
    }
}
