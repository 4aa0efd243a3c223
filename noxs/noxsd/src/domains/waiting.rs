//! Frames that wait until their receiver has posted a page.
//!
//! A burst for one guest is often longer than what the guest has posted; dropping its end would
//! make TCP wait for a timeout. So it waits here, within bounds: a guest that posts nothing costs
//! at most its own share, and all such guests together at most [`ALL_BYTES`].

use std::collections::VecDeque;

use super::{Backend, Place, Scratch, Which};
use crate::host::memory::PAGE_SIZE;
use crate::host::ring::BrokenRing;
use crate::host::{BATCH, Host};

/// Frames that may wait for one guest.
const FRAMES: usize = 512;

/// Bytes that may wait for all guests together.
const ALL_BYTES: usize = 32 * 1024 * 1024;

impl<H: Host> Backend<H> {
    /// Keeps a frame for a guest, or drops it if too many are kept.
    pub(super) fn keep_waiting(&mut self, place: Place, frame: usize, length: u16) {
        let Which::Vif(number) = place.device else { return };
        let vif = &mut self.domains[place.domain].vifs[number];
        let length = usize::from(length);
        if vif.backend.waiting.len() >= FRAMES || self.waiting_bytes + length > ALL_BYTES {
            vif.backend.traffic.dropped_frames += 1;
            return;
        }
        self.waiting_bytes += length;
        vif.backend.waiting.push_back(self.scratch.frames.get(frame)[..length].into());
        // Its turn asks the guest for an event when it posts pages.
        self.queue(place);
    }

    /// Moves frames that wait into the pages that the guest has posted since then, a batch at most.
    pub(super) fn deliver_waiting(
        &mut self,
        port: u32,
        index: usize,
        number: usize,
    ) -> Result<(), BrokenRing> {
        let Scratch { frames, copies, answers, .. } = &mut self.scratch;
        let domain = &mut *self.domains[index];
        let (domid, memory) = (domain.id.domid, &domain.memory);
        let vif = &mut domain.vifs[number].backend;
        copies.clear();
        answers.clear();
        let place = Place { domain: index, device: Which::Vif(number) };
        while copies.len() < BATCH && !vif.waiting.is_empty() {
            let buffer = copies.len();
            let Some(posted) = vif.posted(memory)? else { break };
            let Some(waiting) = vif.waiting.pop_front() else { break };
            self.waiting_bytes -= waiting.len();
            // No frame is longer than a page: it came out of such a buffer.
            let length = waiting.len().min(PAGE_SIZE);
            frames.get_mut(buffer)[..length].copy_from_slice(&waiting[..length]);
            let length = u16::try_from(length).unwrap_or(0);
            copies.push(posted.copy(domid, buffer, length));
            answers.push((place, posted.id));
        }
        if copies.is_empty() {
            return Ok(());
        }
        if vif.waiting.is_empty() {
            // A guest that had one burst does not keep the memory for the next.
            vif.waiting = VecDeque::new();
        }
        self.host.deliver(frames, copies);
        for ((_, id), copy) in answers.iter().zip(copies.iter()) {
            vif.received(memory, *id, copy);
        }
        if vif.push_received(memory) {
            self.host.notify(port);
        }
        Ok(())
    }
}
