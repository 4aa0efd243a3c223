//! A piece of address space that is shared with another domain or with the hypervisor.
//!
//! The other side may write to it at any time. So there is never a Rust reference to its bytes:
//! they are copied in and out, each byte once, or read and written as atomic words.
//!
//! `unsafe`: it works on raw addresses. What makes that sound is in one place: the constructor's
//! promise, and the bounds check of each access.
#![allow(unsafe_code)]

use std::arch::asm;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use nix::errno::Errno;

use crate::units::PAGE_SIZE;

/// Bytes that are moved without a jump in between, in four registers.
const BLOCK: usize = 64;

/// What a block must be aligned to.
const ALIGNMENT: usize = 16;

const WORD: usize = size_of::<u64>();

/// Writes a block.
///
/// Creating a guest is little else than copying, so it is worth an assembler line: 0.19
/// instructions a byte, where the C library's `rep movsb` counts as one a byte on the clock of
/// `scripts/nested --icount`. Written like this, each byte also is written once, as with
/// `volatile`.
///
/// # Safety
/// The whole block at `to` lies in a mapping that is writable, and `to` is a multiple of
/// [`ALIGNMENT`].
unsafe fn write_block(to: *mut u8, bytes: &[u8; BLOCK]) {
    // SAFETY: reads the whole array and nothing else. Writes the block, which the caller promised to
    // be writable and aligned, as `movaps` demands. Registers and flags that it uses are declared.
    unsafe {
        asm!(
            "movups {a}, [{from}]",
            "movups {b}, [{from} + 16]",
            "movups {c}, [{from} + 32]",
            "movups {d}, [{from} + 48]",
            "movaps [{to}], {a}",
            "movaps [{to} + 16], {b}",
            "movaps [{to} + 32], {c}",
            "movaps [{to} + 48], {d}",
            from = in(reg) bytes.as_ptr(),
            to = in(reg) to,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// Clears `count` blocks.
///
/// # Safety
/// `count` blocks at `to` lie in a mapping that is writable, and `to` is a multiple of
/// [`ALIGNMENT`].
unsafe fn clear_blocks(to: *mut u8, count: usize) {
    for index in 0..count {
        // SAFETY: writes the block with this index, which the caller promised to be writable and
        // aligned, as `movaps` demands: a block is a multiple of the alignment.
        unsafe {
            asm!(
                "xorps {zero}, {zero}",
                "movaps [{to}], {zero}",
                "movaps [{to} + 16], {zero}",
                "movaps [{to} + 32], {zero}",
                "movaps [{to} + 48], {zero}",
                to = in(reg) to.wrapping_add(index * BLOCK),
                zero = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Writes what is no block: words as far as there are any, then bytes.
///
/// # Safety
/// All of the target lies in a mapping that is writable, and `to` is a multiple of [`WORD`] unless
/// there is less than a word.
unsafe fn write_rest(to: *mut u8, bytes: &[u8]) {
    let (words, rest) = bytes.as_chunks::<WORD>();
    // SAFETY: the caller promised that all of the target is writable, and that its words are aligned
    // if there are any. Words and rest together are as long as the target.
    unsafe {
        for (index, word) in words.iter().enumerate() {
            to.cast::<u64>().wrapping_add(index).write_volatile(u64::from_ne_bytes(*word));
        }
        write_bytes(to.wrapping_add(words.len() * WORD), rest);
    }
}

/// Writes single bytes.
///
/// # Safety
/// All of the target lies in a mapping that is writable.
unsafe fn write_bytes(to: *mut u8, bytes: &[u8]) {
    for (index, byte) in bytes.iter().enumerate() {
        // SAFETY: the byte lies in the target, which the caller promised to be writable.
        unsafe { to.wrapping_add(index).write_volatile(*byte) };
    }
}

/// Reads single bytes.
///
/// # Safety
/// All of the source lies in a mapping.
unsafe fn read_bytes(from: *const u8, bytes: &mut [u8]) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        // SAFETY: the byte lies in the source, which the caller promised to be mapped.
        *byte = unsafe { from.wrapping_add(index).read_volatile() };
    }
}

/// How far from the kernel's own pages in each process mappings are asked for.
const DISTANCE: u64 = 64 << 10;

/// Where a mapping is best: close to the pages that the kernel maps into each process. Then both
/// share page tables. To make new ones and to give them back takes several hypercalls in dom0,
/// which count in a process that lives for some milliseconds.
///
/// `NEXT` is where the last one ended. It orders nothing: any value is only a hint. A process that
/// makes many mappings leaves the choice to the kernel, which uses places again.
fn near(kernels: u64) -> *mut libc::c_void {
    let hint = match NEXT.load(Ordering::Relaxed) {
        _ if kernels == 0 || MADE.fetch_add(1, Ordering::Relaxed) >= FEW => 0,
        0 => usize::try_from(kernels.saturating_add(DISTANCE)).unwrap_or(0),
        next => next,
    };
    std::ptr::without_provenance_mut(hint)
}

/// Mappings that a process makes for one guest, and some more.
const FEW: usize = 8;

static NEXT: AtomicUsize = AtomicUsize::new(0);
static MADE: AtomicUsize = AtomicUsize::new(0);

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
        // SAFETY: a new mapping disturbs no other memory: the address is a hint, and where something
        // is mapped already the kernel chooses another one. `getauxval` only reads what the kernel
        // has told the process.
        let base = unsafe {
            libc::mmap(
                near(libc::getauxval(libc::AT_SYSINFO_EHDR)),
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
        NEXT.store(base.addr().saturating_add(length), Ordering::Relaxed);
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
        let (head, aligned) = bytes.split_at(to.align_offset(ALIGNMENT).min(bytes.len()));
        let (blocks, rest) = aligned.as_chunks::<BLOCK>();
        let body = to.wrapping_add(head.len());
        let tail = body.wrapping_add(blocks.len() * BLOCK);
        // SAFETY: `at` has checked that the target lies in the mapping, which is writable if
        // callers write. The head reaches up to a multiple of the alignment, unless nothing
        // follows it; a block is a multiple of the alignment, so the rest begins at a word. No
        // reference to the target exists. The other domain may read a part of what is written: it
        // learns from an index, stored later, what is complete.
        unsafe {
            write_bytes(to, head);
            for (index, block) in blocks.iter().enumerate() {
                write_block(body.wrapping_add(index * BLOCK), block);
            }
            write_rest(tail, rest);
        }
    }

    /// Fills bytes from a file, without a copy in between.
    ///
    /// Gives how many there were: fewer than `count` only if the file ends.
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
            // SAFETY: `at` has checked that `count` bytes at the beginning of `to` lie in the
            // mapping; each round moves `to` by as much as `left` shrinks. The kernel writes to
            // them as the other domain may: nobody has a reference to them.
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

    /// Copies bytes out. What the other domain writes meanwhile may be seen in part. Each byte is
    /// read once: what was copied and then checked is not looked up again.
    pub(crate) fn read(&self, offset: usize, bytes: &mut [u8]) {
        let from = self.at(offset, bytes.len());
        let (head, aligned) = bytes.split_at_mut(from.align_offset(WORD).min(bytes.len()));
        let (words, rest) = aligned.as_chunks_mut::<WORD>();
        let body = from.wrapping_add(head.len());
        let tail = body.wrapping_add(words.len() * WORD);
        // SAFETY: `at` has checked that the source lies in the mapping. The head reaches up to a
        // multiple of a word, unless nothing follows it. The result is plain bytes, for which
        // every value is valid.
        unsafe {
            read_bytes(from, head);
            for (index, word) in words.iter_mut().enumerate() {
                *word = body.cast::<u64>().wrapping_add(index).read_volatile().to_ne_bytes();
            }
            read_bytes(tail, rest);
        }
    }

    /// Clears bytes.
    pub(crate) fn fill_zero(&self, offset: usize, count: usize) {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        let to = self.at(offset, count);
        let head = to.align_offset(ALIGNMENT).min(count);
        let blocks = (count - head) / BLOCK;
        let rest = count - head - blocks * BLOCK;
        let body = to.wrapping_add(head);
        // SAFETY: `at` has checked that the target lies in the mapping, which is writable if callers
        // clear. Head and rest are each shorter than a block. The head reaches up to a multiple of
        // the alignment, unless nothing follows it; so the blocks are aligned, and the rest begins at
        // a word. No reference to the target exists.
        unsafe {
            write_bytes(to, &ZEROS[..head]);
            clear_blocks(body, blocks);
            write_rest(body.wrapping_add(blocks * BLOCK), &ZEROS[..rest]);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(pages: usize) -> SharedMapping {
        let file = tempfile::tempfile().unwrap();
        file.set_len((pages * PAGE_SIZE) as u64).unwrap();
        SharedMapping::new(&file, pages, 0, true).unwrap()
    }

    #[test]
    fn bytes_come_back_from_any_place_and_of_any_length() {
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
    fn only_what_is_asked_for_is_cleared() {
        let mapping = mapping(3);
        mapping.write(0, &vec![0xaa; mapping.len()]);
        mapping.fill_zero(5, 2 * PAGE_SIZE);
        let mut all = vec![0; mapping.len()];
        mapping.read(0, &mut all);
        let cleared = 5..5 + 2 * PAGE_SIZE;
        assert!(all.iter().enumerate().all(|(at, byte)| (*byte == 0) == cleared.contains(&at)));
    }

    #[test]
    fn a_files_bytes_arrive_as_far_as_there_are_any() {
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
    fn a_file_is_not_read_past_the_end() {
        let file = tempfile::tempfile().unwrap();
        let _ = mapping(1).write_from(1, &file, 0, PAGE_SIZE);
    }

    #[test]
    fn words_are_where_their_bytes_are() {
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
    fn words_are_aligned() {
        mapping(1).store(6, 1);
    }
}
