// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses and sizes. All are guest-physical; memory is mapped one to one.
//!
//! ```text
//! 0          one page, not mapped: a null pointer faults
//! 0x1000     heap
//! 0x10000    not cleared at boot: the hypercall page (read, execute), the page tables, the
//!            exception stack, the stack's guard page (not mapped), and the stack
//!            image: code (read, execute), constants (read), data, zeroed data (both no execute)
//! image_end  heap
//! top        created by dom0: start_info, command line, module list, device page, ring pages,
//!            answer page, and the overlay frames for shared_info and the grant table
//! ```

/// Size of a page in bytes; frame numbers count these.
pub(crate) const PAGE_SIZE: usize = xen_abi::PAGE_SIZE;

/// [`PAGE_SIZE`] as a `u64`, for addresses and Xen's structures.
pub(crate) const PAGE_SIZE_U64: u64 = PAGE_SIZE as u64;

/// Size of the stack in bytes.
pub(crate) const STACK_SIZE: usize = 64 * 1024;

/// Memory that one entry of a page directory maps, in bytes.
pub(crate) const LARGE_PAGE: u64 = 2 << 20;

/// Memory that the page directory maps, in bytes.
pub(crate) const DIRECTORY: u64 = 1 << 30;

/// Memory that can be mapped at all, in bytes: 4 GiB, in pages of 1 GiB beyond the page directory.
/// Everything that dom0 passes to the guest lies below. (In tests, pages are a host program's.)
pub(crate) const MAPPED: u64 = if cfg!(test) { 1 << 47 } else { 4 << 30 };

/// Returns a pointer to an address, for memory that Xen or dom0 has filled in.
pub(crate) fn pointer(address: u64) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(to_usize(address))
}

/// Converts a `u64` to an index.
#[expect(clippy::cast_possible_truncation, reason = "a guest is a 64-bit program")]
pub(crate) const fn to_usize(value: u64) -> usize {
    const { assert!(usize::BITS == u64::BITS) };
    value as usize
}
