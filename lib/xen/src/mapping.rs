// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mapped pages that are shared with another domain or with the hypervisor.
//!
//! The other side may write to them at any time. So no Rust reference to their bytes ever exists:
//! they are copied in and out, each byte once, or read and written as atomic words.
//!
//! `unsafe`: everything here works on raw addresses. It is sound because the constructor maps the
//! range for as long as the value lives, and because each access checks its bounds.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

use crate::copy;
use crate::placement::Placement;
use crate::units::PAGE_SIZE;

/// Mapped pages; unmapped when dropped.
#[derive(Debug)]
pub(crate) struct SharedMapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: a value may be sent to another thread if nothing in it belongs to the first. A mapping is
// a range of the process's addresses, which all threads share. It is not `Sync`, because copies by
// two threads at the same time would race.
unsafe impl Send for SharedMapping {}

impl SharedMapping {
    /// Maps `pages` pages of a device, shared, for reading and, if `writable`, for writing.
    ///
    /// The pages of some devices exist only after an ioctl has filled them in, and an access before
    /// that raises SIGBUS. So callers return the mapping only after the ioctl.
    pub(crate) fn new(
        file: &File,
        pages: usize,
        offset: u64,
        writable: bool,
        placement: &Placement,
    ) -> Result<Self, Errno> {
        let length = pages.checked_mul(PAGE_SIZE).filter(|length| *length > 0);
        let length = length.ok_or(Errno::EINVAL)?;
        let offset = offset.try_into().map_err(|_| Errno::EINVAL)?;
        let write = if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: `mmap` must not replace memory that is in use. Without MAP_FIXED the address is
        // only a hint: where something is mapped already, the kernel chooses another one.
        let base = unsafe {
            libc::mmap(
                placement.hint(),
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
        placement.mapped_until(base.addr().saturating_add(length));
        let base = NonNull::new(base.cast()).ok_or(Errno::EFAULT)?;
        Ok(Self { base, length })
    }

    /// Returns the length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Returns the first byte's address, to pass to the kernel.
    pub(crate) fn address(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Returns the address of `count` bytes at `offset`.
    ///
    /// # Panics
    /// They are not all inside the mapping. That is a bug of the caller: the other domain has no
    /// influence on offsets.
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
        // SAFETY: `at` has checked that the bytes lie in the mapping, and callers only write to
        // writable ones. No reference to them exists. The other domain may see a part of a write:
        // it takes the bytes as complete only when it sees an index that is stored after them.
        unsafe { copy::write(to, bytes) }
    }

    /// Reads bytes of a file directly into the mapping. Returns how many: fewer than `count` only
    /// if the file ends.
    pub(crate) fn write_from(
        &self,
        offset: usize,
        file: &File,
        position: u64,
        count: usize,
    ) -> Result<usize, Errno> {
        let mut to = self.at(offset, count);
        let mut left = count;
        let mut position = libc::off_t::try_from(position).map_err(|_| Errno::EOVERFLOW)?;
        while left > 0 {
            // SAFETY: `pread` needs `left` writable bytes at `to`. `at` has checked that `count`
            // bytes lie in the mapping, and each round moves `to` by as much as `left` shrinks. The
            // kernel may write to them, because no reference to them exists.
            let got = unsafe { libc::pread(file.as_raw_fd(), to.cast(), left, position) };
            match usize::try_from(got) {
                Ok(0) => break,
                Ok(got) => {
                    to = to.wrapping_add(got);
                    left -= got;
                    position += got.cast_signed() as libc::off_t;
                }
                Err(_) => match Errno::last() {
                    Errno::EINTR => {}
                    errno => return Err(errno),
                },
            }
        }
        Ok(count - left)
    }

    /// Copies bytes out. Bytes that the other domain changes meanwhile may be old or new. Each is
    /// read once: check the copy, and do not read the bytes again for the same decision.
    pub(crate) fn read(&self, offset: usize, bytes: &mut [u8]) {
        let from = self.at(offset, bytes.len());
        // SAFETY: `at` has checked that the bytes lie in the mapping. No reference to them exists.
        unsafe { copy::read(from, bytes) }
    }

    /// Clears bytes.
    pub(crate) fn fill_zero(&self, offset: usize, count: usize) {
        let to = self.at(offset, count);
        // SAFETY: `at` has checked that the bytes lie in the mapping, and callers only clear
        // writable ones. No reference to them exists.
        unsafe { copy::clear(to, count) }
    }

    /// Returns the word at `offset` as an atomic, which may race with the other domain.
    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4), "word at {offset}");
        let word = self.at(offset, 4).cast::<u32>();
        // SAFETY: `from_ptr` needs a word that is mapped and aligned while the result lives, and
        // has no plain accesses that race. `at` has checked that the word lies in the mapping,
        // which lives as long as `self`; the mapping begins at a page and the offset is a multiple
        // of four; and no reference to plain memory there exists.
        unsafe { AtomicU32::from_ptr(word) }
    }

    /// Loads a word with acquire order.
    pub(crate) fn load(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Stores a word with release order.
    pub(crate) fn store(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }
}

impl Drop for SharedMapping {
    fn drop(&mut self) {
        // SAFETY: `munmap` must not remove memory that is still in use. `new` created the mapping
        // with this length, and all borrows that `word` returned have ended, because they borrow
        // `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(pages: usize) -> SharedMapping {
        let file = tempfile::tempfile().unwrap();
        file.set_len((pages * PAGE_SIZE) as u64).unwrap();
        SharedMapping::new(&file, pages, 0, true, &Placement::anywhere()).unwrap()
    }

    #[test]
    fn bytes_of_any_length_can_be_written_and_read_at_any_offset() {
        let mapping = mapping(2);
        let pattern: Vec<u8> = (0..=250).cycle().take(600).collect();
        for offset in (0..20).chain(PAGE_SIZE - 20..PAGE_SIZE + 20) {
            for length in [0, 1, 7, 8, 9, 15, 16, 63, 64, 65, 79, 80, 130, 600] {
                mapping.fill_zero(0, mapping.len());
                mapping.write(offset, &pattern[..length]);
                let mut all = vec![0xff; mapping.len()];
                mapping.read(0, &mut all);
                assert_eq!(all[offset..offset + length], pattern[..length]);
                assert!(all[..offset].iter().chain(&all[offset + length..]).all(|byte| *byte == 0));
                let mut part = vec![0; length];
                mapping.read(offset, &mut part);
                assert_eq!(part, pattern[..length]);
            }
        }
    }

    #[test]
    fn only_the_given_range_is_cleared() {
        let mapping = mapping(3);
        mapping.write(0, &vec![0xaa; mapping.len()]);
        mapping.fill_zero(5, 2 * PAGE_SIZE);
        let mut all = vec![0; mapping.len()];
        mapping.read(0, &mut all);
        let cleared = 5..5 + 2 * PAGE_SIZE;
        assert!(all.iter().enumerate().all(|(at, byte)| (*byte == 0) == cleared.contains(&at)));
    }

    #[test]
    fn a_file_is_read_up_to_its_end() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"0123456789").unwrap();
        let mapping = mapping(1);
        assert_eq!(mapping.write_from(3, &file, 2, 5), Ok(5));
        let mut bytes = [0; 9];
        mapping.read(1, &mut bytes);
        assert_eq!(&bytes, b"\0\x0023456\0\0");
        assert_eq!(mapping.write_from(PAGE_SIZE - 20, &file, 8, 20), Ok(2));
        assert_eq!(mapping.write_from(0, &file, 100, 1), Ok(0));
        assert_eq!(mapping.write_from(0, &file, u64::MAX, 1), Err(Errno::EOVERFLOW));
    }

    #[test]
    #[should_panic(expected = "of a mapping of 4096")]
    fn a_file_is_not_read_past_the_end_of_the_mapping() {
        let file = tempfile::tempfile().unwrap();
        let _ = mapping(1).write_from(1, &file, 0, PAGE_SIZE);
    }

    #[test]
    fn words_and_bytes_are_the_same_memory() {
        let mapping = mapping(1);
        mapping.store(8, 0x0403_0201);
        let mut bytes = [0; 4];
        mapping.read(8, &mut bytes);
        assert_eq!(bytes, [1, 2, 3, 4]);
        assert_eq!(mapping.load(8), 0x0403_0201);
    }

    #[test]
    #[should_panic(expected = "2 bytes at 4095 of a mapping of 4096")]
    fn nothing_is_written_past_the_end() {
        mapping(1).write(PAGE_SIZE - 1, &[0; 2]);
    }

    #[test]
    #[should_panic(expected = "of a mapping of 4096")]
    fn an_offset_that_wraps_is_outside() {
        mapping(1).read(usize::MAX, &mut [0; 2]);
    }

    #[test]
    #[should_panic(expected = "word at 6")]
    fn an_unaligned_word_is_refused() {
        mapping(1).store(6, 1);
    }
}
