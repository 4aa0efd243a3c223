// SPDX-License-Identifier: MIT OR Apache-2.0
//! The balloon: memory that dom0 has asked the guest to give back to Xen. It is free memory of the
//! heap, which the heap counts as allocated until dom0 returns it.
//!
//! `unsafe`: pages lose their memory, and get some again.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::mem;

use noxs::shared::write_balloon;
use noxs::{AnswerStatus, Sysctl};

use crate::cpu::Local;
use crate::device_page::page_at;
use crate::heap::{self, Pages};
use crate::hypercall::{populate_frames, release_frames};
use crate::layout::{PAGE_SIZE, PAGE_SIZE_U64};
use crate::power;

/// Free memory that stays in the heap, so that the guest continues to work.
const RESERVE: usize = 256 << 10;

/// The most pages of a block.
const BLOCK: usize = 512;

/// Frames for which Xen is called at once.
const AT_ONCE: usize = 64;

static BALLOON: Local<Balloon<Xen>> = Local::new(Balloon::new(Xen));

/// Carries out a request of dom0, and answers it.
#[cold]
pub(crate) fn serve(sysctl: &Sysctl) {
    let mut balloon = BALLOON.borrow();
    let status = match balloon.set(usize::try_from(sysctl.balloon_pages).unwrap_or(usize::MAX)) {
        true => AnswerStatus::Accepted,
        false => AnswerStatus::NoRoom,
    };
    let pages = u32::try_from(balloon.pages()).unwrap_or(u32::MAX);
    drop(balloon);
    if sysctl.answer_gfn != 0 {
        write_balloon(&mut page_at(sysctl.answer_gfn.wrapping_mul(PAGE_SIZE_U64)), pages);
    }
    power::answer(sysctl, status);
}

/// Returns the bytes that the heap counts as allocated and that are the balloon's.
pub(crate) fn bytes() -> usize {
    // While it changes, no other code needs the number.
    BALLOON.try_borrow().map_or(0, |balloon| balloon.allocated() * PAGE_SIZE)
}

/// Who takes memory back, and returns it.
trait Owner {
    /// Takes the memory at frames of pages that are allocated, and accessed by no code. Returns how many
    /// it has taken, from the first on.
    fn take(&mut self, frames: &mut [u64]) -> usize;

    /// Returns memory to frames from which it was taken. Returns how many have some, from the first
    /// on.
    fn give(&mut self, frames: &mut [u64]) -> usize;
}

#[derive(Debug)]
struct Xen;

impl Owner for Xen {
    fn take(&mut self, frames: &mut [u64]) -> usize {
        // SAFETY: the program must not use the frames. They are those of a `heap::Pages`, which `Block`
        // keeps until they have memory again.
        unsafe { release_frames(frames) }
    }

    fn give(&mut self, frames: &mut [u64]) -> usize {
        // SAFETY: the frames must have no memory: `take` has taken it.
        unsafe { populate_frames(frames) }
    }
}

/// Pages of the heap of which the first `absent` have no memory.
#[derive(Debug)]
struct Block {
    pages: Pages,
    absent: usize,
}

#[derive(Debug)]
struct Balloon<O> {
    owner: O,
    blocks: Vec<Block>,
}

impl<O: Owner> Balloon<O> {
    const fn new(owner: O) -> Self {
        Self { owner, blocks: Vec::new() }
    }

    /// Returns the number of pages without memory.
    fn pages(&self) -> usize {
        self.blocks.iter().map(|block| block.absent).sum()
    }

    /// Returns the number of pages that are allocated for it.
    fn allocated(&self) -> usize {
        self.blocks.iter().map(|block| block.pages.count()).sum()
    }

    /// Gives pages back or takes them again, until so many have no memory. Returns whether it is so
    /// many.
    fn set(&mut self, wanted: usize) -> bool {
        let mut now = self.pages();
        let mut size = BLOCK;
        while now < wanted && size > 0 {
            size = size.min(wanted - now);
            match self.inflate(size) {
                // The heap is in pieces that are smaller.
                0 => size /= 2,
                taken => now += taken,
            }
        }
        while now > wanted {
            match self.deflate(now - wanted) {
                0 => break,
                given => now -= given,
            }
        }
        now == wanted
    }

    /// Returns a block's memory to Xen. Returns how many pages have no memory any more.
    fn inflate(&mut self, count: usize) -> usize {
        let is_enough = heap::available() >= RESERVE + count * PAGE_SIZE;
        if !is_enough || self.blocks.try_reserve(1).is_err() {
            return 0;
        }
        let Some(pages) = Pages::allocate(count) else { return 0 };
        let first = pages.first_frame();
        let mut absent = 0;
        while absent < count {
            let mut frames = [0; AT_ONCE];
            let at_once = AT_ONCE.min(count - absent);
            let frames = &mut frames[..at_once];
            fill(frames, first + absent as u64..);
            let taken = self.owner.take(frames);
            absent += taken;
            if taken < at_once {
                break;
            }
        }
        if let Some(pages) = pages.truncate(absent) {
            self.blocks.push(Block { pages, absent });
        }
        absent
    }

    /// Takes at most `count` pages of the last block again. Returns how many have memory again.
    fn deflate(&mut self, count: usize) -> usize {
        let Some(Block { pages, absent }) = self.blocks.pop() else { return 0 };
        let at_once = count.min(absent).min(AT_ONCE);
        let mut frames = [0; AT_ONCE];
        let frames = &mut frames[..at_once];
        // From the last on, because the block keeps its first pages.
        let first = pages.first_frame();
        fill(frames, (first..first + absent as u64).rev());
        let given = self.owner.give(frames);
        let absent = absent - given;
        if let Some(pages) = pages.truncate(absent) {
            self.blocks.push(Block { pages, absent });
        } else {
            // The list of blocks is memory, too.
            self.blocks.shrink_to(self.blocks.len() * 2);
        }
        given
    }
}

fn fill(frames: &mut [u64], numbers: impl Iterator<Item = u64>) {
    for (frame, number) in frames.iter_mut().zip(numbers) {
        *frame = number;
    }
}

impl<O> Drop for Balloon<O> {
    fn drop(&mut self) {
        // Freeing a page without memory would be an access to it.
        mem::forget(mem::take(&mut self.blocks));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::heap::testing::Arena;

    /// An owner that has room for so many pages, and whether each was taken.
    #[derive(Debug)]
    struct Fake {
        taken: BTreeSet<u64>,
        room: usize,
        refuses: bool,
    }

    impl Owner for Fake {
        fn take(&mut self, frames: &mut [u64]) -> usize {
            let count = frames.len().min(self.room - self.taken.len());
            assert!(frames[..count].iter().all(|frame| self.taken.insert(*frame)));
            count
        }

        fn give(&mut self, frames: &mut [u64]) -> usize {
            let count = if self.refuses { 0 } else { frames.len() };
            assert!(frames[..count].iter().all(|frame| self.taken.remove(frame)));
            count
        }
    }

    fn balloon(room: usize) -> Balloon<Fake> {
        Balloon::new(Fake { taken: BTreeSet::new(), room, refuses: false })
    }

    #[test]
    fn memory_is_given_back_and_taken_again() {
        let arena = Arena::new(8 << 20);
        let free = heap::available();
        let mut balloon = balloon(usize::MAX);
        for wanted in [1, 1000, 1300, 700, 699, 3, 0, 900, 0] {
            assert!(balloon.set(wanted), "{wanted}");
            assert_eq!((balloon.pages(), balloon.owner.taken.len()), (wanted, wanted));
            assert_eq!(balloon.allocated(), wanted);
            let used = free - heap::available();
            assert!(used >= wanted * PAGE_SIZE && used < wanted * PAGE_SIZE + (64 << 10), "{used}");
        }
        drop(arena.user);
    }

    #[test]
    fn the_guest_keeps_what_it_uses_and_a_reserve() {
        let arena = Arena::new(4 << 20);
        let kept = heap::take(1 << 20, 4096).expect("the heap has 4 MiB");
        kept.fill(7);
        let mut balloon = balloon(usize::MAX);
        assert!(!balloon.set(1 << 20));
        let left = heap::available();
        assert!((RESERVE..RESERVE + (64 << 10)).contains(&left), "{left}");
        assert!(balloon.set(0));
        assert!(kept.iter().all(|byte| *byte == 7));
        drop(arena.user);
    }

    #[test]
    fn what_xen_refuses_is_not_lost() {
        let arena = Arena::new(4 << 20);
        let free = heap::available();
        let mut balloon = balloon(100);
        assert!(!balloon.set(300));
        assert_eq!((balloon.pages(), balloon.allocated()), (100, 100));
        balloon.owner.refuses = true;
        assert!(!balloon.set(50));
        assert_eq!((balloon.pages(), balloon.allocated()), (100, 100));
        balloon.owner.refuses = false;
        assert!(balloon.set(0));
        assert!(free - heap::available() < 4096);
        // Without Xen, nothing is given back.
        let mut without = Balloon::new(Xen);
        assert!(!without.set(10));
        assert_eq!((without.pages(), without.allocated()), (0, 0));
        drop(arena.user);
    }
}
