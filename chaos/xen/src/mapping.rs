//! A piece of address space that is shared with another domain or with the hypervisor.
//!
//! The other side may write to it at any time. So there is never a Rust reference to its bytes:
//! they are copied in and out, or read and written as atomic words.
//!
//! `unsafe`: it works on raw addresses. What makes that sound is in one place: the constructor's
//! promise, and the bounds check of each access.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};

use nix::errno::Errno;

use crate::units::PAGE_SIZE;

/// Mapped pages; unmapped when dropped.
#[derive(Debug)]
pub(crate) struct SharedMapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is a range of the process's addresses and belongs to no thread. It is not
// `Sync`: nothing orders what two threads copy at the same time.
unsafe impl Send for SharedMapping {}

impl SharedMapping {
    /// Maps `pages` pages of a device, shared, for reading and perhaps writing.
    ///
    /// The pages of some devices only exist once an ioctl has filled them in; an access before
    /// that ends the process, so callers give the mapping away only afterwards.
    pub(crate) fn new(
        file: &File,
        pages: usize,
        offset: u64,
        writable: bool,
    ) -> Result<Self, Errno> {
        let length = pages.checked_mul(PAGE_SIZE).filter(|length| *length > 0);
        let length = length.ok_or(Errno::EINVAL)?;
        let offset = offset.try_into().map_err(|_| Errno::EINVAL)?;
        let write = if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no other memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | write,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let base = NonNull::new(base.cast()).ok_or(Errno::EFAULT)?;
        Ok(Self { base, length })
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The first byte's address, for handing to the kernel.
    pub(crate) fn address(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// The address of `count` bytes at `offset`.
    ///
    /// # Panics
    /// They are not all inside the mapping: a mistake of the caller, never of the other domain.
    fn at(&self, offset: usize, count: usize) -> *mut u8 {
        let end = offset.checked_add(count);
        assert!(
            end.is_some_and(|end| end <= self.length),
            "{count} bytes at {offset} of a mapping of {}",
            self.length
        );
        self.base.as_ptr().wrapping_add(offset)
    }

    /// Copies bytes in.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        let to = self.at(offset, bytes.len());
        // SAFETY: `at` has checked that the target lies in the mapping, which is writable if
        // callers write; the source is a slice of this process and cannot overlap, because
        // nobody can hold a reference into the mapping. What the other domain sees of a race is
        // its own affair.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
        // Orders the copy before the next hypercall or event, for the compiler.
        compiler_fence(Ordering::SeqCst);
    }

    /// Copies bytes out. What the other domain writes meanwhile may be seen in part.
    pub(crate) fn read(&self, offset: usize, bytes: &mut [u8]) {
        let from = self.at(offset, bytes.len());
        // SAFETY: as in `write`, with the directions exchanged. The result is plain bytes, for
        // which every value is valid.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) }
        // Orders the copy before everything that uses it, for the compiler: it may not look at
        // the shared bytes again in place of the copy, after the copy was checked. (The processor
        // needs no barrier: the copy is complete when its bytes are used.)
        compiler_fence(Ordering::SeqCst);
    }

    /// Clears bytes.
    pub(crate) fn fill_zero(&self, offset: usize, count: usize) {
        let to = self.at(offset, count);
        // SAFETY: as in `write`.
        unsafe { std::ptr::write_bytes(to, 0, count) }
    }

    /// The word at `offset` as an atomic, which may race with the other domain.
    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4), "word at {offset}");
        let word = self.at(offset, 4).cast::<u32>();
        // SAFETY: `at` has checked that the word lies in the mapping, the mapping begins at a
        // page and the offset is a multiple of four, so it is aligned; it lives as long as
        // `self`; and no reference to plain memory there exists.
        unsafe { AtomicU32::from_ptr(word) }
    }

    /// Reads a word; what follows is not done before.
    pub(crate) fn load(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Writes a word; what precedes is visible before it is.
    pub(crate) fn store(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }
}

impl Drop for SharedMapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length and is not used any more: the
        // borrows that `word` gives out end with `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}
