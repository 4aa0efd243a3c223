//! Memory for the guest's data: the talc allocator over all memory that is free.
//!
//! `unsafe`, because it is the global allocator and hands out raw memory.
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::ops::Range;

use talc::TalcCell;
use talc::source::Manual;

use crate::layout::{PAGE_SIZE, pointer, to_usize};

struct Heap(TalcCell<Manual>);

// SAFETY: a guest has one vCPU and runs with interrupts off, so no two uses overlap. An exception
// handler does not return and does not allocate.
unsafe impl Sync for Heap {}

#[cfg_attr(not(test), global_allocator)]
static HEAP: Heap = Heap(TalcCell::new(Manual));

// SAFETY: all calls go to talc's own implementation, whose contract is the same.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is talc's condition.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is talc's condition.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is talc's condition.
        unsafe { self.0.realloc(pointer, layout, new_size) }
    }
}

/// How much memory the heap has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in use, the allocator's own overhead included.
    pub used: usize,
    /// Bytes that can still be had, though perhaps not in one piece.
    pub free: usize,
}

/// How much memory the heap has now. Takes a few instructions.
#[must_use]
pub fn usage() -> Usage {
    let counters = HEAP.0.counters();
    let free = counters.available_bytes;
    Usage { used: counters.claimed_bytes - free, free }
}

/// Whether one piece of `bytes` can be had now.
#[must_use]
pub fn can_allocate(bytes: usize) -> bool {
    let Ok(layout) = Layout::from_size_align(bytes.max(1), 16) else { return false };
    // SAFETY: the layout's size is not zero.
    let pointer = unsafe { HEAP.alloc(layout) };
    if !pointer.is_null() {
        // SAFETY: just allocated with this layout, and given to nobody.
        unsafe { HEAP.dealloc(pointer, layout) };
    }
    !pointer.is_null()
}

/// Gives a piece of memory to the heap.
///
/// # Safety
/// The memory is mapped and writable, and nothing else uses it, now or later.
pub(crate) unsafe fn add(memory: Range<u64>) {
    let base = pointer(memory.start);
    // SAFETY: the caller's promise is talc's condition. A piece too small for talc is left unused.
    let _ = unsafe { HEAP.0.claim(base, to_usize(memory.end - memory.start)) };
}

/// Takes memory for good, with whatever bytes are in it: what a device or a socket overwrites need
/// not be zeroed. `None` if there is not enough.
pub(crate) fn take(bytes: usize, align: usize) -> Option<&'static mut [u8]> {
    let layout = Layout::from_size_align(bytes.max(1), align).ok()?;
    // SAFETY: the layout's size is not zero.
    let pointer = unsafe { HEAP.0.alloc(layout) };
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the piece is `bytes` long, aligned, and this caller's alone, for good. Its bytes came
    // from outside of the program (Xen gave the memory, `add` took it by address), so they have
    // some value; every value is a `u8`.
    Some(unsafe { core::slice::from_raw_parts_mut(pointer, bytes) })
}

/// Takes whole pages for good, for sharing with another domain. `None` if there are not enough.
pub(crate) fn take_pages(count: usize) -> Option<*mut u8> {
    take(count * PAGE_SIZE, PAGE_SIZE).map(<[u8]>::as_mut_ptr)
}

/// Takes one whole page for good and gives its frame number: a place for a page of Xen's.
pub(crate) fn take_frame() -> Option<u64> {
    take_pages(1).map(|page| (page.expose_provenance() / PAGE_SIZE) as u64)
}
