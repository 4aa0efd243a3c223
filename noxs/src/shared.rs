// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads and writes pages in memory that the other side may be accessing at the same time.
//!
//! The generation is a sequence lock: [`publish`] makes it odd, writes the rest, and makes it even
//! again; [`snapshot`] copies the page and reports [`PageError::Torn`] if the generation was odd
//! or changed during the copy. This crate never creates a Rust reference to the shared bytes.
//!
//! This is the only module of the crate that uses `unsafe`: [`RawPageWords`] accesses a page by its
//! address.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering, fence};

use crate::layout::{PAGE_SIZE, answer, entry, header};
use crate::page::{MAX_DEVICES, PageError};
use crate::sysctl::{Answer, AnswerStatus, Request, RequestId};

/// A page that two domains can access at the same time, word by word. Offsets must be multiples of
/// four and less than [`PAGE_SIZE`].
///
/// The trait of `lib/ring` is another one: this crate depends on no other crate, and the device
/// page has no rings, but whole words under a sequence lock.
pub trait PageWords {
    /// Reads one little-endian word with acquire ordering: later reads see everything that the
    /// other side wrote before this word.
    fn read_u32(&self, offset: usize) -> u32;

    /// Writes one little-endian word with release ordering: a reader that sees this word also sees
    /// everything that was written before it.
    fn write_u32(&mut self, offset: usize, value: u32);
}

/// Copies the device page out of shared memory, up to the last entry it claims to have.
///
/// # Errors
/// [`PageError::Torn`] if dom0 was writing to the page. dom0 notifies the sysctl port after each
/// change, so a guest that waits for that event and copies again gets a complete page.
pub fn snapshot(page: &impl PageWords) -> Result<[u8; PAGE_SIZE], PageError> {
    let generation = page.read_u32(header::GENERATION);
    if generation & 1 != 0 {
        return Err(PageError::Torn { generation });
    }
    // Skip what follows the used entries, to save time: it is all zeros.
    let [low, high, ..] = page.read_u32(header::ENTRY_COUNT).to_le_bytes();
    let used = usize::from(u16::from_le_bytes([low, high])).min(MAX_DEVICES);
    let end = header::SIZE + used * entry::SIZE;
    let mut copy = [0; PAGE_SIZE];
    for (word, bytes) in copy[..end].chunks_exact_mut(4).enumerate() {
        bytes.copy_from_slice(&page.read_u32(word * 4).to_le_bytes());
    }
    // The copy is complete before the generation is read again: each read above is an acquire, so
    // this one cannot be reordered before any of them.
    let generation_now = page.read_u32(header::GENERATION);
    if generation_now != generation {
        return Err(PageError::Torn { generation: generation_now });
    }
    Ok(copy)
}

/// Replaces a device page that a running guest may be reading. `bytes` must come from
/// [`DevicePage::encode`](crate::DevicePage::encode) and contain the new, even generation.
pub fn publish(page: &mut impl PageWords, bytes: &[u8; PAGE_SIZE]) {
    let word = |offset: usize| u32::from_le_bytes(crate::codec::bytes(bytes, offset));
    let generation = word(header::GENERATION);
    page.write_u32(header::GENERATION, generation | 1);
    // Make the odd generation visible before the first changed word. A release store orders only
    // what precedes it, so the fence keeps the stores below from being reordered before this one.
    fence(Ordering::SeqCst);
    for offset in (0..PAGE_SIZE).step_by(4).filter(|offset| *offset != header::GENERATION) {
        page.write_u32(offset, word(offset));
    }
    page.write_u32(header::GENERATION, generation & !1);
}

/// Writes a new request into the page of a running guest. The caller must then notify the sysctl
/// port.
///
/// The generation is twice the request's number, so dom0 needs to remember only that number.
pub fn post_request(page: &mut impl PageWords, id: RequestId, request: Request) {
    post(page, id, request, 0);
}

/// As [`post_request`], to give back this many pages of memory in all.
pub fn post_memory_request(page: &mut impl PageWords, id: RequestId, balloon_pages: u32) {
    post(page, id, Request::Memory, balloon_pages);
}

fn post(page: &mut impl PageWords, id: RequestId, request: Request, balloon_pages: u32) {
    let generation = id.0.wrapping_mul(2);
    page.write_u32(header::GENERATION, generation.wrapping_sub(1));
    // Make the odd generation visible before the first changed word; see `publish`.
    fence(Ordering::SeqCst);
    page.write_u32(header::SYSCTL_REQUEST, request as u32);
    page.write_u32(header::SYSCTL_REQUEST_ID, id.0);
    page.write_u32(header::SYSCTL_BALLOON_PAGES, balloon_pages);
    page.write_u32(header::GENERATION, generation);
}

/// Writes the guest's answer to a request.
pub fn write_answer(page: &mut impl PageWords, request_id: RequestId, status: AnswerStatus) {
    page.write_u32(answer::STATUS, status as u32);
    // Write the number last, so that a reader that sees it also sees the status belonging to it.
    page.write_u32(answer::REQUEST_ID, request_id.0);
}

/// Reads the guest's answer. It is only a hint: the guest is not trusted.
#[must_use]
pub fn read_answer(page: &impl PageWords) -> Answer {
    let request_id = page.read_u32(answer::REQUEST_ID);
    Answer::from_raw(request_id, page.read_u32(answer::STATUS))
}

/// Writes the number of pages that the guest has given back in all. To be called before
/// [`write_answer`], so that a reader who sees the answer sees it, too.
pub fn write_balloon(page: &mut impl PageWords, pages: u32) {
    page.write_u32(answer::BALLOON_PAGES, pages);
}

/// Reads the number of pages that the guest has given back in all. It is only a hint: the guest is not
/// trusted.
#[must_use]
pub fn read_balloon(page: &impl PageWords) -> u32 {
    page.read_u32(answer::BALLOON_PAGES)
}

/// A shared page that is mapped into this address space.
#[derive(Debug)]
pub struct RawPageWords {
    address: *mut u8,
}

impl RawPageWords {
    /// Wraps the page at `address`.
    ///
    /// # Safety
    /// For the lifetime of the value:
    /// - `address` must be aligned to four bytes.
    /// - [`PAGE_SIZE`] bytes from `address` on must be mapped readable, and writable too if
    ///   [`PageWords::write_u32`] is called.
    /// - No Rust reference to any of these bytes may exist on this side.
    #[must_use]
    pub unsafe fn new(address: *mut u8) -> Self {
        Self { address }
    }

    fn word(&self, offset: usize) -> *mut u32 {
        assert!(offset.is_multiple_of(4) && offset < PAGE_SIZE, "offset {offset} in a page");
        self.address.wrapping_add(offset).cast()
    }
}

impl PageWords for RawPageWords {
    fn read_u32(&self, offset: usize) -> u32 {
        let word = self.word(offset);
        // SAFETY: the caller of `new` guarantees that the page is mapped, aligned, and has no
        // references to it; `word` has checked that these four bytes are aligned and lie in the
        // page. The access is atomic, so a race with the other domain is not undefined behaviour.
        let value = unsafe { AtomicU32::from_ptr(word) }.load(Ordering::Acquire);
        u32::from_le(value)
    }

    fn write_u32(&mut self, offset: usize, value: u32) {
        let word = self.word(offset);
        // SAFETY: the caller of `new` guarantees that a page that is written to is mapped
        // writable, is aligned, and has no references to it; `word` has checked that these four
        // bytes are aligned and lie in the page. The access is atomic, so a race with the other
        // domain is not undefined behaviour.
        unsafe { AtomicU32::from_ptr(word) }.store(value.to_le(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use std::boxed::Box;

    use super::*;
    use crate::page::DevicePage;

    /// A page to which the other side writes while it is read: at read number `disturb_at`.
    struct Disturbed {
        bytes: Box<[u8; PAGE_SIZE]>,
        reads: Cell<usize>,
        disturb_at: usize,
        generation: Cell<u32>,
    }

    impl PageWords for Disturbed {
        fn read_u32(&self, offset: usize) -> u32 {
            if self.reads.replace(self.reads.get() + 1) == self.disturb_at {
                self.generation.set(self.generation.get() + 2);
            }
            match offset {
                header::GENERATION => self.generation.get(),
                _ => u32::from_le_bytes(crate::codec::bytes(&self.bytes, offset)),
            }
        }

        fn write_u32(&mut self, _: usize, _: u32) {
            unreachable!("a reader does not write");
        }
    }

    #[test]
    fn a_write_during_a_copy_is_detected() {
        // After the first read, of the generation, come the count, the header and the generation.
        for disturb_at in 1..=header::SIZE / 4 + 2 {
            let page = Disturbed {
                bytes: Box::new(DevicePage::default().encode()),
                reads: Cell::new(0),
                disturb_at,
                generation: Cell::new(4),
            };
            assert_eq!(snapshot(&page), Err(PageError::Torn { generation: 6 }), "{disturb_at}");
        }
    }

    #[test]
    fn a_published_page_reads_back_unchanged() {
        let mut memory = Box::new([0u64; PAGE_SIZE / 8]);
        // SAFETY: `memory` is one writable page aligned to eight bytes; it outlives `shared` and is
        // accessed only through it.
        let mut shared = unsafe { RawPageWords::new(memory.as_mut_ptr().cast()) };
        let mut page = DevicePage::new(7, [9; 16]);
        page.request(Request::Reboot);
        publish(&mut shared, &page.encode());
        assert_eq!(DevicePage::decode(&snapshot(&shared).unwrap()), Ok(page));
    }

    #[test]
    fn posting_a_request_changes_nothing_else() {
        let mut memory = Box::new([0u64; PAGE_SIZE / 8]);
        // SAFETY: `memory` is one writable page aligned to eight bytes; it outlives `shared` and is
        // accessed only through it.
        let mut shared = unsafe { RawPageWords::new(memory.as_mut_ptr().cast()) };
        let mut page = DevicePage::new(7, [9; 16]);
        publish(&mut shared, &page.encode());
        let id = page.request(Request::Poweroff);
        post_request(&mut shared, id, Request::Poweroff);
        assert_eq!(DevicePage::decode(&snapshot(&shared).unwrap()), Ok(page.clone()));
        let id = page.request(Request::Memory);
        page.sysctl.balloon_pages = 0x1234_5678;
        post_memory_request(&mut shared, id, page.sysctl.balloon_pages);
        assert_eq!(DevicePage::decode(&snapshot(&shared).unwrap()), Ok(page));
    }

    #[test]
    fn a_page_with_an_odd_generation_is_refused() {
        let mut memory = Box::new([0u64; PAGE_SIZE / 8]);
        // SAFETY: `memory` is one writable page aligned to eight bytes; it outlives `shared` and is
        // accessed only through it.
        let mut shared = unsafe { RawPageWords::new(memory.as_mut_ptr().cast()) };
        publish(&mut shared, &DevicePage::default().encode());
        shared.write_u32(header::GENERATION, 3);
        assert_eq!(snapshot(&shared), Err(PageError::Torn { generation: 3 }));
    }

    #[test]
    fn an_answer_reads_back_unchanged() {
        let mut memory = Box::new([0u64; PAGE_SIZE / 8]);
        // SAFETY: `memory` is one writable page aligned to eight bytes; it outlives `shared` and is
        // accessed only through it.
        let mut shared = unsafe { RawPageWords::new(memory.as_mut_ptr().cast()) };
        write_balloon(&mut shared, 512);
        write_answer(&mut shared, RequestId(9), AnswerStatus::Accepted);
        assert_eq!(read_balloon(&shared), 512);
        let answer = read_answer(&shared);
        assert_eq!(answer.request_id, RequestId(9));
        assert_eq!(answer.status, Some(AnswerStatus::Accepted));
    }
}
