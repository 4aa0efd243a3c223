// SPDX-License-Identifier: MIT OR Apache-2.0
//! A shared page by its address.
//!
//! `unsafe`, because the other domain reads and writes the page while this one does.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};

use xen_abi::PAGE_SIZE;

use crate::page::SharedPage;

/// One shared page of this address space.
#[derive(Debug)]
pub struct RawPage {
    address: *mut u8,
}

impl RawPage {
    /// Takes the page at `address`.
    ///
    /// # Safety
    /// For as long as the value lives, [`PAGE_SIZE`] bytes at `address` are mapped for reading and
    /// writing, `address` is a multiple of four, and no Rust reference to any of the bytes exists.
    #[must_use]
    pub const unsafe fn new(address: *mut u8) -> Self {
        Self { address }
    }

    /// Returns the word at `offset`.
    fn word(&self, offset: usize) -> &AtomicU32 {
        if !offset.is_multiple_of(4) || offset >= PAGE_SIZE {
            outside(offset, 4);
        }
        // SAFETY: the word lies in the page, because `offset` is a multiple of four below the
        // page's size. It is aligned, because the page's address is a multiple of four, too. By the
        // contract of `new`, the page is mapped while `self` lives and no plain reference to it
        // exists. An atomic access may race with the other domain.
        unsafe { AtomicU32::from_ptr(self.address.add(offset).cast()) }
    }

    /// Returns the address of `count` bytes at `offset`.
    fn bytes(&self, offset: usize, count: usize) -> *mut u8 {
        if offset.checked_add(count).is_none_or(|end| end > PAGE_SIZE) {
            outside(offset, count);
        }
        self.address.wrapping_add(offset)
    }
}

#[cold]
#[inline(never)]
fn outside(offset: usize, count: usize) -> ! {
    panic!("{count} bytes at {offset} of a page")
}

impl SharedPage for RawPage {
    fn load(&self, offset: usize) -> u32 {
        u32::from_le(self.word(offset).load(Ordering::Acquire))
    }

    fn store(&self, offset: usize, value: u32) {
        self.word(offset).store(value.to_le(), Ordering::Release);
    }

    // Not inlined: each copy would make a guest's image larger.
    #[inline(never)]
    fn read(&self, offset: usize, bytes: &mut [u8]) {
        let from = self.bytes(offset, bytes.len());
        for (index, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: `bytes` has checked that the byte lies in the page. By the contract of `new`,
            // the page is mapped and no reference to it exists. A volatile read copies the byte
            // once.
            *byte = unsafe { from.add(index).read_volatile() };
        }
    }

    #[inline(never)]
    fn write(&self, offset: usize, bytes: &[u8]) {
        let to = self.bytes(offset, bytes.len());
        for (index, byte) in bytes.iter().enumerate() {
            // SAFETY: `bytes` has checked that the byte lies in the page. By the contract of `new`,
            // the page is mapped for writing and no reference to it exists.
            unsafe { to.add(index).write_volatile(*byte) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;

    use super::*;

    #[repr(align(4096))]
    struct Memory([u8; PAGE_SIZE]);

    /// Returns a page that is never freed.
    fn page() -> RawPage {
        let memory = Box::leak(Box::new(Memory([0; PAGE_SIZE])));
        // SAFETY: the memory is a page, is never freed, and the only reference to it ends here.
        unsafe { RawPage::new(memory.0.as_mut_ptr()) }
    }

    #[test]
    fn words_and_bytes_are_the_same_memory() {
        let page = page();
        page.store(4092, 0x0403_0201);
        let mut bytes = [0; 5];
        page.read(4091, &mut bytes);
        assert_eq!(bytes, [0, 1, 2, 3, 4]);
        page.write(4094, &[9, 8]);
        assert_eq!(page.load(4092), 0x0809_0201);
    }

    #[test]
    #[should_panic(expected = "4 bytes at 4096 of a page")]
    fn a_word_past_the_end_is_refused() {
        page().load(PAGE_SIZE);
    }

    #[test]
    #[should_panic(expected = "4 bytes at 2 of a page")]
    fn a_word_that_is_not_aligned_is_refused() {
        page().store(2, 0);
    }

    #[test]
    #[should_panic(expected = "2 bytes at 4095 of a page")]
    fn bytes_past_the_end_are_refused() {
        page().write(4095, &[0; 2]);
    }

    #[test]
    #[should_panic(expected = "of a page")]
    fn an_offset_that_wraps_is_refused() {
        page().read(usize::MAX, &mut [0; 2]);
    }
}
