//! Moving a page through memory that the other side may be changing.
//!
//! The generation is a sequence lock: [`publish`] makes it odd, writes the rest, and makes it even
//! again; [`snapshot`] copies the page and reports [`PageError::Torn`] if the generation was odd
//! or has changed meanwhile. Nobody ever holds a reference to the shared bytes.
//!
//! This is the only module of the crate with `unsafe`: [`RawPage`] reads and writes a page by its
//! address.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering, fence};

use crate::layout::{PAGE_SIZE, answer, entry, header};
use crate::page::{MAX_DEVICES, PageError};
use crate::sysctl::{Answer, AnswerStatus, Request, RequestId};

/// A page that two domains can touch at the same time. Offsets are multiples of four below
/// [`PAGE_SIZE`].
pub trait SharedPage {
    /// Reads one little-endian word with acquire order: reads that follow see what was written
    /// before the word was.
    fn read_u32(&self, offset: usize) -> u32;

    /// Writes one little-endian word with release order: whoever sees the word also sees what was
    /// written before it.
    fn write_u32(&mut self, offset: usize, value: u32);
}

/// Copies the device page out of shared memory, as far as its entries go.
///
/// # Errors
/// [`PageError::Torn`] if dom0 was writing. dom0 rings the sysctl port after each change, so a
/// guest that waits for that event and copies again gets a whole page.
pub fn snapshot(page: &impl SharedPage) -> Result<[u8; PAGE_SIZE], PageError> {
    let generation = page.read_u32(header::GENERATION);
    if generation & 1 != 0 {
        return Err(PageError::Torn { generation });
    }
    // What follows the used entries is zero, and a guest has better to do than to read it.
    let [low, high, ..] = page.read_u32(header::ENTRY_COUNT).to_le_bytes();
    let used = usize::from(u16::from_le_bytes([low, high])).min(MAX_DEVICES);
    let end = header::SIZE + used * entry::SIZE;
    let mut copy = [0; PAGE_SIZE];
    for (word, bytes) in copy[..end].chunks_exact_mut(4).enumerate() {
        bytes.copy_from_slice(&page.read_u32(word * 4).to_le_bytes());
    }
    // The copy is complete before the generation is looked at again: each read above acquires, so
    // this one cannot move up before any of them.
    let generation_now = page.read_u32(header::GENERATION);
    if generation_now != generation {
        return Err(PageError::Torn { generation: generation_now });
    }
    Ok(copy)
}

/// Replaces the device page that a running guest may be reading. `bytes` come from
/// [`DevicePage::encode`](crate::DevicePage::encode) and carry the new, even generation.
pub fn publish(page: &mut impl SharedPage, bytes: &[u8; PAGE_SIZE]) {
    let word = |offset: usize| u32::from_le_bytes(crate::codec::bytes(bytes, offset));
    let generation = word(header::GENERATION);
    page.write_u32(header::GENERATION, generation | 1);
    // The odd generation is visible before the first changed word: `write_u32` releases what came
    // before it, this fence keeps what comes after from moving up.
    fence(Ordering::SeqCst);
    for offset in (0..PAGE_SIZE).step_by(4).filter(|offset| *offset != header::GENERATION) {
        page.write_u32(offset, word(offset));
    }
    page.write_u32(header::GENERATION, generation & !1);
}

/// Writes a new request into the page of a running guest. The caller rings the sysctl port
/// afterwards.
///
/// The generation follows from the request's number, so that dom0 needs to remember only that.
pub fn post_request(page: &mut impl SharedPage, id: RequestId, request: Request) {
    let generation = id.0.wrapping_mul(2);
    page.write_u32(header::GENERATION, generation.wrapping_sub(1));
    // The odd generation is visible before the first changed word, as in `publish`.
    fence(Ordering::SeqCst);
    page.write_u32(header::SYSCTL_REQUEST, request as u32);
    page.write_u32(header::SYSCTL_REQUEST_ID, id.0);
    page.write_u32(header::GENERATION, generation);
}

/// Writes the guest's answer to a request.
pub fn write_answer(page: &mut impl SharedPage, request_id: RequestId, status: AnswerStatus) {
    page.write_u32(answer::STATUS, status as u32);
    // The number goes last: whoever sees it sees the status that belongs to it.
    page.write_u32(answer::REQUEST_ID, request_id.0);
}

/// Reads the guest's answer: a hint from an untrusted side.
#[must_use]
pub fn read_answer(page: &impl SharedPage) -> Answer {
    let request_id = page.read_u32(answer::REQUEST_ID);
    Answer::from_raw(request_id, page.read_u32(answer::STATUS))
}

/// A shared page at an address of this address space.
#[derive(Debug)]
pub struct RawPage {
    address: *mut u8,
}

impl RawPage {
    /// Takes the page at `address`.
    ///
    /// # Safety
    /// For as long as the value lives, [`PAGE_SIZE`] bytes at `address` must be mapped readable,
    /// and writable if [`SharedPage::write_u32`] is called; they must be aligned to four bytes,
    /// and nothing on this side may hold a Rust reference to any of them.
    #[must_use]
    pub unsafe fn new(address: *mut u8) -> Self {
        Self { address }
    }

    fn word(&self, offset: usize) -> *mut u32 {
        assert!(offset.is_multiple_of(4) && offset < PAGE_SIZE, "offset {offset} in a page");
        self.address.wrapping_add(offset).cast()
    }
}

impl SharedPage for RawPage {
    fn read_u32(&self, offset: usize) -> u32 {
        let word = self.word(offset);
        // SAFETY: `new`'s caller promised that the page is mapped, aligned and free of
        // references; `word` checked that these four bytes lie in it and are aligned. An atomic
        // access is allowed to race with the other domain.
        let value = unsafe { AtomicU32::from_ptr(word) }.load(Ordering::Acquire);
        u32::from_le(value)
    }

    fn write_u32(&mut self, offset: usize, value: u32) {
        let word = self.word(offset);
        // SAFETY: as in `read_u32`; a caller that writes promised `new` a writable page.
        unsafe { AtomicU32::from_ptr(word) }.store(value.to_le(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use std::boxed::Box;

    use super::*;
    use crate::page::DevicePage;

    /// A page whose other side writes in the middle of a read.
    struct Disturbed {
        bytes: Box<[u8; PAGE_SIZE]>,
        reads: Cell<usize>,
        disturb_at: usize,
        generation: Cell<u32>,
    }

    impl SharedPage for Disturbed {
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
    fn a_change_in_the_middle_of_a_copy_is_noticed() {
        // One read of the count, then the header, then the generation again.
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
    fn what_is_published_is_what_is_read() {
        let mut memory = Box::new([0u64; PAGE_SIZE / 8]);
        // SAFETY: `memory` is one page, aligned to eight, lives to the end of the test and is
        // only touched through `shared`.
        let mut shared = unsafe { RawPage::new(memory.as_mut_ptr().cast()) };
        let mut page = DevicePage::new(7, [9; 16]);
        page.request(Request::Reboot);
        publish(&mut shared, &page.encode());
        assert_eq!(DevicePage::decode(&snapshot(&shared).unwrap()), Ok(page));
    }

    #[test]
    fn a_request_that_is_posted_leaves_the_devices_alone() {
        let mut memory = Box::new([0u64; PAGE_SIZE / 8]);
        // SAFETY: as in the test above.
        let mut shared = unsafe { RawPage::new(memory.as_mut_ptr().cast()) };
        let mut page = DevicePage::new(7, [9; 16]);
        publish(&mut shared, &page.encode());
        let id = page.request(Request::Poweroff);
        post_request(&mut shared, id, Request::Poweroff);
        assert_eq!(DevicePage::decode(&snapshot(&shared).unwrap()), Ok(page));
    }

    #[test]
    fn a_half_written_page_is_refused() {
        let mut memory = Box::new([0u64; PAGE_SIZE / 8]);
        // SAFETY: as in the test above.
        let mut shared = unsafe { RawPage::new(memory.as_mut_ptr().cast()) };
        publish(&mut shared, &DevicePage::default().encode());
        shared.write_u32(header::GENERATION, 3);
        assert_eq!(snapshot(&shared), Err(PageError::Torn { generation: 3 }));
    }

    #[test]
    fn an_answer_arrives() {
        let mut memory = Box::new([0u64; PAGE_SIZE / 8]);
        // SAFETY: as in the tests above.
        let mut shared = unsafe { RawPage::new(memory.as_mut_ptr().cast()) };
        write_answer(&mut shared, RequestId(9), AnswerStatus::Accepted);
        let answer = read_answer(&shared);
        assert_eq!(answer.request_id, RequestId(9));
        assert_eq!(answer.status, Some(AnswerStatus::Accepted));
    }
}
