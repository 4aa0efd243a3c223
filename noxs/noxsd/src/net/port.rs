// SPDX-License-Identifier: GPL-3.0-or-later
//! The receiving half of a vif: a port of a bridge, which puts frames into the guest's pages.
//!
//! Frames for a guest that has posted no page wait for one: a burst is often longer than the number
//! of posted pages, and dropping its end would make TCP wait for a timeout. At most `FRAMES` wait
//! for one guest and at most `ALL_BYTES` for all guests together; the newest are dropped beyond
//! that.

use std::collections::VecDeque;
use std::rc::Rc;

use noxs_control::VifStatus;
use xen_abi::io::netif::{NETIF_RSP_ERROR, RxRequest, RxResponse};
use xen_ring::{BackRing, NetRx, SharedPage};

use super::NetFault;
use super::switch::BridgePortId;
use super::transfer::{BATCH, Transfer};
use crate::host::buffers::{BufferIndex, GrantCopy};
use crate::host::{DomId, GrantRef, Host, LocalPort};
use crate::turns::TurnId;

/// Frames that may wait for one guest.
const FRAMES: usize = 512;

/// Bytes that may wait for all guests together.
const ALL_BYTES: usize = 32 * 1024 * 1024;

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
}

/// A port of a bridge.
#[derive(Debug)]
pub struct BridgePort<M> {
    receiver: Receiver<M>,
    rx: BackRing<NetRx>,
    /// Size of the longest frame for the guest, in bytes.
    max_frame: u16,
    /// Frames that wait until the guest posts a page.
    waiting: VecDeque<Box<[u8]>>,
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
            waiting: VecDeque::new(),
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
    /// frames still wait for pages.
    ///
    /// # Errors
    /// The guest wrote an impossible index. The port accepts no frame from then on.
    pub(super) fn page_for_new(&mut self) -> Result<Option<Posted>, NetFault> {
        if !self.waiting.is_empty() {
            return Ok(None);
        }
        let posted = self.posted();
        self.faulty = posted.is_err();
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

    /// Keeps a frame until the guest posts a page. Drops it and returns `false` if too many frames
    /// wait. `waiting_bytes` counts the waiting bytes of all ports.
    pub(super) fn keep(&mut self, frame: &[u8], waiting_bytes: &mut usize) -> bool {
        if self.waiting.len() >= FRAMES || *waiting_bytes + frame.len() > ALL_BYTES {
            self.drop_frame();
            return false;
        }
        *waiting_bytes += frame.len();
        self.waiting.push_back(frame.into());
        true
    }

    /// Returns whether frames wait for pages.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Moves at most a batch of waiting frames into the pages that the guest has posted meanwhile.
    ///
    /// # Errors
    /// The guest wrote an impossible index.
    pub(super) fn deliver_waiting<H: Host>(
        &mut self,
        host: &mut H,
        transfer: &mut Transfer,
        own: BridgePortId,
    ) -> Result<(), NetFault> {
        let Transfer { buffers, copies, answers, waiting_bytes, .. } = transfer;
        copies.clear();
        answers.clear();
        while copies.len() < BATCH && !self.waiting.is_empty() {
            let buffer = BufferIndex(copies.len());
            let Some(posted) = self.posted()? else { break };
            let Some(frame) = self.waiting.pop_front() else { break };
            *waiting_bytes -= frame.len();
            // No frame is longer than a page, because it was copied from a buffer of one page.
            let Ok(length) = u16::try_from(frame.len()) else { panic!("frame longer than a page") };
            buffers.get_mut(buffer)[..frame.len()].copy_from_slice(&frame);
            copies.push(self.copy(posted, buffer, length));
            answers.push((own, posted.id));
        }
        if copies.is_empty() {
            return Ok(());
        }
        if self.waiting.is_empty() {
            // Free the memory: most guests have such a burst rarely.
            self.waiting = VecDeque::new();
        }
        host.deliver(buffers, copies);
        for ((_, id), copy) in answers.iter().zip(copies.iter()) {
            self.answer(*id, copy);
        }
        self.push(host);
        Ok(())
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

    /// Returns the guest.
    pub(super) fn domid(&self) -> DomId {
        self.receiver.domid
    }

    /// Returns how much has passed to the guest.
    pub(super) fn traffic(&self) -> VifStatus {
        self.traffic
    }

    /// Returns the total size of the waiting frames, in bytes.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting.iter().map(|frame| frame.len()).sum()
    }
}
