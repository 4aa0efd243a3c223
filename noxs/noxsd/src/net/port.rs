// SPDX-License-Identifier: GPL-3.0-or-later
//! The receiving half of a vif: a port of a bridge, which puts frames into the guest's pages.
//!
//! Frames for a guest that has posted no page wait for one, within the limits of
//! [`waiting`](super::waiting).

use std::rc::Rc;
use std::time::Instant;

use noxs_control::VifStatus;
use xen_abi::io::netif::{NETIF_RSP_ERROR, RxRequest, RxResponse};
use xen_ring::{BackRing, NetRx, SharedPage};

use super::switch::BridgePortId;
use super::transfer::{BATCH, Transfer};
use super::waiting::{Check, Kept, Origin, Queue, Store};
use super::{BridgeId, NetFault};
use crate::host::buffers::{BufferIndex, GrantCopy};
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
    /// Size of the longest frame for the guest, in bytes.
    max_frame: u16,
    /// Frames that wait until the guest posts a page.
    waiting: Queue,
    /// A frame of this batch found no page. Later ones must not overtake it.
    late: bool,
    traffic: VifStatus,
    /// The guest broke its ring, so that no more frames can be delivered.
    faulty: bool,
}

/// A page that the guest has posted for a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Posted {
    /// Comes back in the response.
    pub(super) id: u16,
    gref: GrantRef,
}

impl<M: SharedPage> BridgePort<M> {
    /// Attaches to the ring at offset `base` of the domain's memory, and continues where its
    /// indices stand.
    pub(super) fn attach(receiver: Receiver<M>, base: usize, max_frame: u16) -> Self {
        Self {
            rx: BackRing::attach(&*receiver.memory, base),
            receiver,
            max_frame,
            waiting: Queue::default(),
            late: false,
            traffic: VifStatus::default(),
            faulty: false,
        }
    }

    /// Returns whether a frame of this length may go to the guest. Counts a longer one as dropped.
    pub(super) fn accepts(&mut self, length: u16) -> bool {
        if self.faulty {
            return false;
        }
        let accepts = length <= self.max_frame;
        if !accepts {
            self.drop_frame();
        }
        accepts
    }

    /// Takes a posted page for a new frame. Returns `None` if no page is posted, or if earlier
    /// frames still wait for pages. If the frame may wait (`may_wait`), the caller then
    /// [keeps](Self::keep) it at the end of the batch; until then no other frame gets a page.
    ///
    /// # Errors
    /// The guest wrote an impossible index. The port accepts no frame from then on.
    pub(super) fn page_for_new(&mut self, may_wait: bool) -> Result<Option<Posted>, NetFault> {
        if self.late || !self.waiting.is_empty() {
            return Ok(None);
        }
        let posted = self.posted();
        match posted {
            Ok(Some(_)) => self.waiting.progress(),
            Ok(None) => self.late = may_wait,
            Err(_) => self.faulty = true,
        }
        posted
    }

    fn posted(&mut self) -> Result<Option<Posted>, NetFault> {
        let memory = &*self.receiver.memory;
        if self.rx.available(memory)? == 0 {
            return Ok(None);
        }
        let RxRequest { id, gref, .. } = self.rx.peek(memory);
        self.rx.consume();
        Ok(Some(Posted { id, gref: GrantRef(gref) }))
    }

    /// Returns the copy that puts a frame into a posted page.
    pub(super) fn copy(&self, posted: Posted, buffer: BufferIndex, length: u16) -> GrantCopy {
        let domid = self.receiver.domid;
        GrantCopy { domid, gref: posted.gref, offset: 0, length, buffer, done: false }
    }

    /// Answers the request of a posted page, after the copy into the page has succeeded or failed.
    pub(super) fn answer(&mut self, id: u16, copy: &GrantCopy) {
        let status = if copy.done {
            self.traffic.to_guest_frames += 1;
            self.traffic.to_guest_bytes += u64::from(copy.length);
            copy.length.cast_signed()
        } else {
            self.traffic.dropped_frames += 1;
            NETIF_RSP_ERROR
        };
        // The frame is at the beginning of the page and has no flags.
        let response = RxResponse { id, offset: 0, flags: 0, status };
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

    /// Keeps a frame until the guest posts a page. It is dropped if the guest has posted no page
    /// for too long, or if no more may wait and its origin has the most. `own` is the place of this
    /// port.
    pub(super) fn keep(
        &mut self,
        frame: &[u8],
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
        copies.clear();
        answers.clear();
        while copies.len() < BATCH && !self.waiting.is_empty() {
            let buffer = BufferIndex(copies.len());
            let Some(posted) = self.posted()? else { break };
            let Some(frame) = self.waiting.pop(store) else { break };
            // No frame is longer than a page, because it was copied from a buffer of one page.
            let Ok(length) = u16::try_from(frame.len()) else { panic!("frame longer than a page") };
            buffers.get_mut(buffer)[..frame.len()].copy_from_slice(&frame);
            copies.push(self.copy(posted, buffer, length));
            answers.push((own, posted.id));
        }
        if copies.is_empty() {
            return Ok(0);
        }
        self.waiting.taken(now);
        *work += copies.len();
        host.deliver(buffers, copies);
        for ((_, id), copy) in answers.iter().zip(copies.iter()) {
            self.answer(*id, copy);
        }
        self.push(host);
        Ok(copies.len())
    }

    /// If frames wait, asks for an event with the next posted page and returns how many pages are
    /// posted already.
    ///
    /// # Errors
    /// The guest wrote an impossible index.
    pub(super) fn arm(&mut self) -> Result<u32, NetFault> {
        if self.waiting.is_empty() {
            return Ok(0);
        }
        Ok(self.rx.arm(&*self.receiver.memory)?)
    }
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
        let mut port = BridgePort::attach(receiver, 0, 1514);
        let mut transfer = Transfer::default();
        let own = (BridgeId(0), BridgePortId(0));
        let now = Instant::now();

        assert!(port.page_for_new(true).unwrap().is_none());
        frontend::post(&memory, 0, 7);
        assert!(port.page_for_new(true).unwrap().is_none(), "the first frame is still to be kept");
        for frame in [[1; 60], [2; 60]] {
            assert!(port.keep(&frame, Origin::Tap, &mut transfer.store, own, now).waits);
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
        assert!(port.page_for_new(false).unwrap().is_none());
        frontend::post(&memory, 1, 7);
        assert!(port.page_for_new(true).unwrap().is_some());
    }
}
