// SPDX-License-Identifier: GPL-3.0-or-later
//! The receiving half of a vif: a port of a bridge, which puts frames into the guest's pages.
//!
//! A guest says in its ring's page what it accepts: blank checksums, frames in several pages, and
//! long packets of TCP. For one that does not, noxsd computes checksums and segments packets.
//!
//! Frames for a guest that has posted no page wait for one, within the limits of
//! [`waiting`](super::waiting).

use std::rc::Rc;
use std::time::Instant;

use noxs::VifFeatures;
use noxs::layout::vif_ring;
use noxs_control::VifStatus;
use xen_abi::io::netif::{
    NETIF_RSP_ERROR, NETRXF_EXTRA_INFO, NETRXF_MORE_DATA, RxRequest, RxResponse,
};
use xen_ring::{BackRing, NetRx, SharedPage};

use super::mapped;
use super::offload::{Checksum, Offload, Segmentation};
use super::switch::BridgePortId;
use super::transfer::{Answer, AnswerPart, BATCH, BufferedFrame, FrameBuffers, Transfer, pages};
use super::waiting::{Check, Kept, Origin, Queue, Store, WaitingFrame};
use super::{BridgeId, NetFault};
use crate::host::buffers::{Buffers, GrantCopy};
use crate::host::mapped::{MappedPages, Room, Use};
use crate::host::{DomId, GrantRef, Host, LocalPort, serving};
use crate::turns::TurnId;

/// The guest that receives a port's frames.
#[derive(Debug)]
pub struct Receiver<M> {
    /// The domain's ring pages.
    pub memory: Rc<M>,
    /// Its domid.
    pub domid: DomId,
    /// dom0's end of the vif's event channel.
    pub port: LocalPort,
    /// The owner of the vif's turns.
    pub turn: TurnId,
    /// The domain's handle.
    pub handle: [u8; 16],
}

/// A port of a bridge.
#[derive(Debug)]
pub struct BridgePort<M> {
    receiver: Receiver<M>,
    rx: BackRing<NetRx>,
    /// Offset in the domain's memory of what the guest accepts.
    accepted: usize,
    /// Size of the longest frame for the guest that is not to be segmented, in bytes.
    max_frame: u16,
    /// The pages of sent and of received frames that are mapped.
    sent: MappedPages<M>,
    received: MappedPages<M>,
    /// Frames that wait until the guest posts a page.
    waiting: Queue,
    /// A frame of this batch found no page. Later ones must not overtake it.
    late: bool,
    traffic: VifStatus,
    /// The guest broke its ring, so that no more frames can be delivered.
    faulty: bool,
}

/// How a frame goes to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// As it is.
    Whole,
    /// In segments, because the guest takes no long packets.
    Segmented(Segmentation),
}

impl<M: SharedPage> BridgePort<M> {
    /// Attaches to the ring at offset `base` of the domain's memory, and continues where its
    /// indices stand.
    pub(super) fn attach(
        receiver: Receiver<M>,
        base: usize,
        max_frame: u16,
        room: &Room<M>,
    ) -> Self {
        Self {
            rx: BackRing::attach(&*receiver.memory, base),
            accepted: base + vif_ring::ACCEPTED,
            sent: MappedPages::new(Use::Read, room),
            received: MappedPages::new(Use::Write, room),
            waiting: Queue::default(),
            receiver,
            max_frame,
            late: false,
            traffic: VifStatus::default(),
            faulty: false,
        }
    }

    /// Sets the number of vifs that share what may wait for the guest.
    pub(super) fn share(&mut self, vifs: usize) {
        self.waiting.share(vifs);
    }

    /// Returns whether the guest accepts frames with these features. It may change its mind at any
    /// time, which harms only itself.
    pub(super) fn accepts(&self, features: VifFeatures) -> bool {
        VifFeatures(self.receiver.memory.load(self.accepted)).contains(features)
    }

    /// Returns how a frame goes to the guest. Counts it as dropped if it is too long.
    pub(super) fn fit(&mut self, frame: &BufferedFrame) -> Option<Fit> {
        if self.faulty {
            return None;
        }
        let fit = match frame.offload.segmentation {
            None if frame.length() > self.max_frame.into() => None,
            None if pages(frame.length()) > 1 && !self.accepts(VifFeatures::SCATTER) => None,
            None => Some(Fit::Whole),
            Some(segmentation) if segmentation.longest() > self.max_frame.into() => None,
            Some(segmentation) if self.accepts(segmentation.needs()) => Some(Fit::Whole),
            Some(segmentation) => Some(Fit::Segmented(segmentation)),
        };
        if fit.is_none() {
            self.drop_frame();
        }
        fit
    }

    /// Returns whether the guest has posted the pages that a new frame needs. It has not if earlier
    /// frames still wait for pages. If the frame may wait (`may_wait`), the caller then
    /// [keeps](Self::keep) it at the end of the batch; until then no other frame gets a page.
    ///
    /// # Errors
    /// The guest wrote an impossible index. The port accepts no frame from then on.
    pub(super) fn has_pages_for_new(
        &mut self,
        frame: &BufferedFrame,
        may_wait: bool,
    ) -> Result<bool, NetFault> {
        if self.late || !self.waiting.is_empty() {
            return Ok(false);
        }
        let has_pages = self.has_pages(frame.length(), frame.offload);
        match has_pages {
            Ok(true) => self.waiting.progress(),
            Ok(false) => self.late = may_wait,
            Err(_) => self.faulty = true,
        }
        has_pages
    }

    fn has_pages(&self, length: usize, offload: Offload) -> Result<bool, NetFault> {
        Ok(self.rx.available(&*self.receiver.memory)? >= slots(length, offload))
    }

    /// Takes the next posted page.
    fn posted(&mut self) -> RxRequest {
        let request = self.rx.peek(&*self.receiver.memory);
        self.rx.consume();
        request
    }

    /// Appends the copies that put a frame into the posted pages, and the responses. `to` is the
    /// number of this port.
    pub(super) fn place(
        &mut self,
        to: BridgePortId,
        frame: &BufferedFrame,
        copies: &mut Vec<GrantCopy>,
        answers: &mut Vec<Answer>,
    ) {
        let domid = self.receiver.domid;
        let mut left = pages(frame.length());
        let mut extra = frame.offload.segmentation.map(Segmentation::extra_info);
        let mut flags = frame.offload.flags();
        if extra.is_some() {
            flags |= NETRXF_EXTRA_INFO;
        }
        let mut whole = Some(frame.length());
        for (at, length) in frame.parts() {
            let RxRequest { id, gref, .. } = self.posted();
            left -= 1;
            if left > 0 {
                flags |= NETRXF_MORE_DATA;
            }
            let gref = GrantRef(gref);
            copies.push(GrantCopy { domid, gref, offset: 0, length, at, done: false });
            // The part is at the beginning of its page.
            let response = RxResponse { id, offset: 0, flags, status: length.cast_signed() };
            answers.push(Answer { to, part: AnswerPart::Data { response, frame: whole.take() } });
            if let Some(extra) = extra.take() {
                // Its page stays unused.
                let _ = self.posted();
                answers.push(Answer { to, part: AnswerPart::Extra(extra) });
            }
            flags = 0;
        }
    }

    /// Makes the copies of frames that the guest sends. Maps their pages if there are many in a turn
    /// that is full.
    pub(super) fn fetch<H: Host<Memory = M>>(
        &mut self,
        host: &mut H,
        buffers: &mut Buffers,
        copies: &mut [GrantCopy],
        is_full: bool,
    ) {
        if !self.sent.is_empty() {
            for copy in copies.iter_mut() {
                mapped::fetch(&self.sent, buffers, copy);
            }
        }
        if copies.iter().all(|copy| copy.done) {
            return;
        }
        mapped::make_others(copies, |copies| host.fetch(buffers, copies));
        if is_full && self.accepts(mapped::FEATURE) {
            mapped::learn(&mut self.sent, host, self.receiver.domid, copies);
        }
    }

    /// Makes a copy of a frame for the guest if its page is mapped.
    pub(super) fn deliver_mapped(&self, buffers: &Buffers, copy: &mut GrantCopy) {
        mapped::deliver(&self.received, buffers, copy);
    }

    /// Maps the pages of a full turn's copies of frames for the guest, if there are many.
    pub(super) fn learn<H: Host<Memory = M>>(&mut self, host: &mut H, copies: &[GrantCopy]) {
        if self.accepts(mapped::FEATURE) {
            mapped::learn(&mut self.received, host, self.receiver.domid, copies);
        }
    }

    /// Writes a response. `copies` are those that were made for the next responses.
    pub(super) fn answer<'a>(
        &mut self,
        part: AnswerPart,
        copies: &mut impl Iterator<Item = &'a GrantCopy>,
    ) {
        let response = match part {
            AnswerPart::Extra(extra) => extra.into(),
            AnswerPart::Data { mut response, frame } => {
                if copies.next().is_some_and(|copy| copy.done) {
                    self.traffic.to_guest_frames += u64::from(frame.is_some());
                    self.traffic.to_guest_bytes += frame.unwrap_or_default() as u64;
                } else {
                    self.traffic.dropped_frames += 1;
                    response.status = NETIF_RSP_ERROR;
                }
                response
            }
        };
        self.rx.respond(&*self.receiver.memory, &response);
    }

    /// Publishes the responses, and sends an event if the guest wants one.
    pub(super) fn push<H: Host>(&mut self, host: &mut H) {
        if self.rx.push(&*self.receiver.memory) {
            host.notify(self.receiver.port);
        }
    }

    /// Counts a frame that is dropped on its way to the guest.
    pub(super) fn drop_frame(&mut self) {
        self.traffic.dropped_frames += 1;
    }

    /// Keeps a frame until the guest posts pages for it. It is dropped if the guest has posted too
    /// few for too long, or if no more may wait and its origin has the most. `own` is the place of
    /// this port.
    pub(super) fn keep(
        &mut self,
        frame: WaitingFrame,
        from: Origin,
        store: &mut Store,
        own: (BridgeId, BridgePortId),
        now: Instant,
    ) -> Kept {
        self.late = false;
        let kept = self.waiting.keep(frame, from, store, own, now);
        self.traffic.dropped_frames += kept.dropped as u64;
        kept
    }

    /// Returns whether frames wait for pages.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Moves at most a batch of waiting frames into the pages that the guest has posted meanwhile.
    /// Returns how many.
    ///
    /// # Errors
    /// The guest wrote an impossible index.
    pub(super) fn deliver_waiting<H: Host>(
        &mut self,
        host: &mut H,
        transfer: &mut Transfer,
        own: BridgePortId,
        now: Instant,
    ) -> Result<usize, NetFault> {
        if self.waiting.is_empty() {
            return Ok(0);
        }
        let Transfer { buffers, copies, answers, store, work, .. } = transfer;
        buffers.clear();
        copies.clear();
        answers.clear();
        let mut moved = 0;
        while moved < BATCH
            && let Some(next) = self.waiting.front()
            && self.has_pages(next.bytes.len(), next.offload)?
            && buffers.room(next.bytes.len()).is_some()
            && let Some(WaitingFrame { bytes, offload }) = self.waiting.pop(store)
            && let Some(mut frame) = buffers.put(&bytes, offload)
        {
            moved += 1;
            match self.fit(&frame) {
                Some(Fit::Whole) => {}
                // The guest took long packets when it came.
                Some(Fit::Segmented(_)) => {
                    self.drop_frame();
                    continue;
                }
                None => continue,
            }
            self.complete(&mut frame, buffers);
            self.place(own, &frame, copies, answers);
        }
        if moved == 0 {
            return Ok(0);
        }
        self.waiting.taken(now);
        *work += copies.len();
        for copy in copies.iter_mut() {
            mapped::deliver(&self.received, &buffers.memory, copy);
        }
        mapped::make_others(copies, |copies| host.deliver(&buffers.memory, copies));
        let mut copies = copies.iter();
        for Answer { part, .. } in answers.iter() {
            self.answer(*part, &mut copies);
        }
        self.push(host);
        Ok(moved)
    }

    /// Computes the checksum of a frame if it is blank and the guest wants none that are.
    pub(super) fn complete(&self, frame: &mut BufferedFrame, buffers: &mut FrameBuffers) {
        if frame.offload.checksum == Checksum::Blank && !self.accepts(VifFeatures::BLANK_CHECKSUM) {
            frame.offload.complete(buffers.bytes_mut(frame));
        }
    }

    /// If frames wait, asks for an event when the pages for the next one are posted, and returns
    /// whether they are already.
    ///
    /// # Errors
    /// The guest wrote an impossible index.
    pub(super) fn arm(&mut self) -> Result<bool, NetFault> {
        let Some(next) = self.waiting.front() else { return Ok(false) };
        let slots = slots(next.bytes.len(), next.offload);
        Ok(self.rx.arm_for(slots, &*self.receiver.memory)? >= slots)
    }
}

/// Returns how many slots a frame takes: one for each page, and one for the extra info.
fn slots(length: usize, offload: Offload) -> u32 {
    let slots = pages(length) + usize::from(offload.segmentation.is_some());
    u32::try_from(slots).unwrap_or(u32::MAX)
}

impl<M> BridgePort<M> {
    /// Returns the owner of the vif's turns.
    pub(super) fn turn(&self) -> TurnId {
        self.receiver.turn
    }

    /// Notes that the guest is being served, so that a panic is attributed to it.
    pub(super) fn begin_serving(&self) {
        serving::begin(self.receiver.handle);
    }

    /// Records that frames of this origin are for the guest.
    pub(super) fn note(&mut self, from: Origin, now: Instant) {
        self.waiting.note(from, now);
    }

    /// Returns the guest.
    pub(super) fn domid(&self) -> DomId {
        self.receiver.domid
    }

    /// Returns how much has passed to the guest.
    pub(super) fn traffic(&self) -> VifStatus {
        self.traffic
    }

    /// Drops the waiting frames if the guest has posted no page for too long.
    pub(super) fn check_waiting(&mut self, check: Check, store: &mut Store, now: Instant) {
        self.traffic.dropped_frames += self.waiting.check(check, store, now) as u64;
    }

    /// Drops the waiting frames, because the port is being removed.
    pub(super) fn release(&mut self, store: &mut Store, own: (BridgeId, BridgePortId)) {
        self.waiting.release(store, own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::{FakeHost, FakePage};
    use crate::net::frontend;
    use crate::turns::Turns;

    #[test]
    fn a_frame_does_not_overtake_one_that_found_no_page_in_the_same_batch() {
        let memory = Rc::new(FakePage::new(1));
        let turn = Turns::default().add(());
        let handle = [1; 16];
        let receiver = Receiver {
            memory: Rc::clone(&memory),
            domid: DomId(1),
            port: LocalPort(1),
            turn,
            handle,
        };
        let mut port = BridgePort::attach(receiver, 0, 1514, &Room::new());
        let mut transfer = Transfer::default();
        let own = (BridgeId(0), BridgePortId(0));
        let now = Instant::now();

        let frame = |transfer: &mut Transfer, byte| {
            transfer.buffers.put(&[byte; 60], Offload::default()).unwrap()
        };
        let first = frame(&mut transfer, 1);
        assert!(!port.has_pages_for_new(&first, true).unwrap());
        frontend::post(&memory, 0, 7);
        let is_early = port.has_pages_for_new(&first, true).unwrap();
        assert!(!is_early, "the first frame is still to be kept");
        for byte in [1, 2] {
            let frame = WaitingFrame { bytes: [byte; 60].into(), offload: Offload::default() };
            assert!(port.keep(frame, Origin::Tap, &mut transfer.store, own, now).waits);
        }
        let mut host = FakeHost::default();
        host.pages.insert((1, 7), FakePage::new(1));
        host.bound.insert(LocalPort(1));
        port.deliver_waiting(&mut host, &mut transfer, own.1, now).unwrap();
        let mut arrived = [0; 60];
        host.pages[&(1, 7)].read(0, &mut arrived);
        assert_eq!(arrived, [1; 60]);
        port.release(&mut transfer.store, own);
        assert_eq!(transfer.store.bytes(), 0);

        // A flooded frame that finds no page is dropped, so nothing waits for it.
        let last = frame(&mut transfer, 3);
        assert!(!port.has_pages_for_new(&last, false).unwrap());
        frontend::post(&memory, 1, 7);
        assert!(port.has_pages_for_new(&last, true).unwrap());
    }
}
