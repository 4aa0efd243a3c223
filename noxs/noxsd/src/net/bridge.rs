// SPDX-License-Identifier: GPL-3.0-or-later
//! A bridge: its switch, the ports of its guests, and its tap to dom0.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use noxs_control::VifStatus;
use slab::Slab;
use xen_ring::SharedPage;

use super::BridgeId;
use super::flood::{Floods, Rate, SLICE};
use super::frame::FrameFacts;
use super::mapped;
use super::offload::Offload;
use super::port::{BridgePort, Fit};
use super::rules::TapRules;
use super::segments;
use super::switch::{BridgePortId, End, PortAddresses, Route, Switch};
use super::transfer::{
    Answer, AnswerPart, BATCH, BufferedFrame, Delivery, FrameBuffers, Transfer, address, pages,
};
use super::waiting::{Check, Origin, Store, WaitingFrame};
use crate::host::buffers::GrantCopy;
use crate::host::{Host, serving};
use crate::turns::{After, TurnId};

/// Ports that the table has room for without being moved.
const CAPACITY: usize = 16 * 1024;

/// Why a tap cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the tap of bridge {bridge}: {error}")]
pub struct TapFault {
    bridge: String,
    error: io::Error,
}

/// What has become of the frames of one batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delivered {
    /// Frames with one receiver that were dropped.
    pub(super) dropped: usize,
    /// Whether so many frames of the sender wait for their receivers that it must not send more
    /// for a while.
    pub(super) hold: bool,
}

/// The owners of a bridge's turns.
#[derive(Clone, Copy, Debug)]
pub struct BridgeTurns {
    /// Serves the tap.
    pub tap: TurnId,
    /// Continues floods.
    pub floods: TurnId,
}

/// What is to be delivered next.
#[derive(Clone, Copy, Debug, Default)]
struct Next {
    delivery: usize,
    /// The segment of its frame, if it is delivered in segments.
    segment: usize,
}

impl Next {
    fn skip(&mut self) {
        *self = Self { delivery: self.delivery + 1, segment: 0 };
    }
}

/// A bridge and its ports.
#[derive(Debug)]
pub struct Bridge<M> {
    id: BridgeId,
    name: String,
    pub(super) switch: Switch,
    ports: Slab<BridgePort<M>>,
    tap: File,
    turns: BridgeTurns,
    rules: TapRules,
    floods: Floods,
}

impl<M> Bridge<M> {
    /// Creates a bridge without ports.
    pub(super) fn new(
        id: BridgeId,
        name: &str,
        tap: File,
        turns: BridgeTurns,
        now: Instant,
    ) -> Self {
        Self {
            id,
            name: name.to_owned(),
            switch: Switch::default(),
            ports: Slab::with_capacity(CAPACITY),
            tap,
            turns,
            rules: TapRules::default(),
            floods: Floods::new(now),
        }
    }

    /// Returns the name of the Linux bridge.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the owner of the tap's turns.
    pub(super) fn turn(&self) -> TurnId {
        self.turns.tap
    }

    /// Adds a port, whose guest has these addresses. No other port may have the MAC address.
    ///
    /// # Panics
    /// If the bridge has 2^32 ports, which Xen's 2^15 domids do not allow.
    pub(super) fn add_port(
        &mut self,
        port: BridgePort<M>,
        addresses: PortAddresses,
    ) -> BridgePortId {
        let number = self.ports.insert(port);
        // Two ports must not share an ID.
        let Ok(number) = u32::try_from(number) else { panic!("port {number} of a bridge") };
        let id = BridgePortId(number);
        let added = self.switch.add(id, addresses);
        debug_assert_eq!(added, Ok(()), "the MAC address was checked");
        id
    }

    /// Removes a port, the frames that wait for it and those that it floods. Returns how much has
    /// passed through it. The addresses must be those that the port was added with.
    pub(super) fn remove_port(
        &mut self,
        id: BridgePortId,
        addresses: PortAddresses,
        store: &mut Store,
    ) -> VifStatus {
        self.switch.remove(id, addresses);
        self.floods.forget(id);
        let Some(mut port) = self.ports.try_remove(id.0 as usize) else {
            return VifStatus::default();
        };
        port.release(store, (self.id, id));
        port.traffic()
    }

    pub(super) fn port(&self, id: BridgePortId) -> Option<&BridgePort<M>> {
        self.ports.get(id.0 as usize)
    }

    pub(super) fn port_mut(&mut self, id: BridgePortId) -> Option<&mut BridgePort<M>> {
        self.ports.get_mut(id.0 as usize)
    }

    /// Sends a frame to dom0.
    ///
    /// # Errors
    /// The tap's queue is full, or its interface is down.
    pub(super) fn send_to_tap(
        &mut self,
        frame: &BufferedFrame,
        buffers: &mut FrameBuffers,
    ) -> io::Result<()> {
        let frame = buffers.with_header(frame).ok_or(ErrorKind::InvalidData)?;
        self.tap.write(frame).map(drop)
    }

    /// Sends a frame to the ports of a route that [floods](Route::floods): in this turn if there
    /// are few, otherwise in later ones. The frame is not to be segmented and has its checksum.
    /// Returns `false` if the frame is dropped, because its source floods too much.
    pub(super) fn flood(
        &mut self,
        route: Route,
        (from, rate): (End, Rate),
        frame: BufferedFrame,
        now: Instant,
        transfer: &mut Transfer,
    ) -> bool {
        let ports = self.switch.targets(route).len();
        if ports == 0 {
            return true;
        }
        if !self.floods.take(from, rate, ports, now) {
            return false;
        }
        let Transfer { buffers, deliveries, woken, .. } = transfer;
        if deliveries.len() + ports <= BATCH && !self.floods.has_queued(from) {
            address(&self.switch, route, from, frame, deliveries);
            return true;
        }
        woken.push(self.turns.floods);
        self.floods.queue(buffers.bytes(&frame), route, (from, rate), ports)
    }

    /// Drops the frames that wait for a port, if they are too old.
    pub(super) fn check_waiting(&mut self, check: Check, store: &mut Store, now: Instant) {
        if let Some(port) = self.ports.get_mut(check.port.0 as usize) {
            port.check_waiting(check, store, now);
        }
    }
}

impl<M: SharedPage> Bridge<M> {
    /// Takes a batch of frames out of the tap and delivers them.
    ///
    /// # Errors
    /// The tap cannot be read. Frames that were read before are delivered.
    pub(super) fn serve_tap<H: Host<Memory = M>>(
        &mut self,
        host: &mut H,
        transfer: &mut Transfer,
        now: Instant,
    ) -> Result<After, TapFault> {
        let mut result = Ok(After::Turn);
        transfer.buffers.clear();
        for _ in 0..BATCH {
            let Some(room) = transfer.buffers.room_to_read() else { break };
            let length = match self.tap.read(room) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    result = match error.kind() {
                        ErrorKind::WouldBlock => Ok(After::Event),
                        _ => Err(TapFault { bridge: self.name.clone(), error }),
                    };
                    break;
                }
            };
            transfer.work += pages(length).max(1);
            let Some((frame, offload)) = transfer.buffers.was_read(length) else { continue };
            let Some(facts) = FrameFacts::of(frame) else { continue };
            if !self.rules.may_enter(&facts, frame, &self.switch) {
                continue;
            }
            let route = self.switch.route(&facts, End::Tap);
            // `was_read` has checked the length.
            let Ok(length) = u16::try_from(frame.len()) else { continue };
            let mut frame = transfer.buffers.take(length, offload);
            if !route.floods() {
                address(&self.switch, route, End::Tap, frame, &mut transfer.deliveries);
            } else if transfer.buffers.complete_to_flood(&mut frame) {
                self.flood(route, (End::Tap, Rate::Often), frame, now, transfer);
            }
        }
        transfer.full = matches!(result, Ok(After::Turn));
        self.deliver(host, transfer, Origin::Tap, now);
        result
    }

    /// Continues floods with a constant number of copies.
    pub(super) fn serve_floods<H: Host<Memory = M>>(
        &mut self,
        host: &mut H,
        transfer: &mut Transfer,
        now: Instant,
    ) -> After {
        let Transfer { buffers, deliveries, .. } = &mut *transfer;
        buffers.clear();
        for _ in 0..SLICE {
            let most = SLICE - deliveries.len();
            if most == 0 {
                break;
            }
            let Some(mut flood) = self.floods.pop() else { break };
            let Some(frame) = buffers.put(&flood.frame, Offload::default()) else {
                self.floods.put_back(flood);
                break;
            };
            let ports = flood.next(&self.switch, most);
            deliveries.extend(ports.map(|to| Delivery { to, frame, may_wait: false }));
            if !flood.is_done() {
                self.floods.put_back(flood);
            }
        }
        transfer.full = false;
        // Flooded frames do not wait, so their origins do not matter.
        self.deliver(host, transfer, Origin::Tap, now);
        if self.floods.is_empty() { After::Event } else { After::Turn }
    }

    /// Copies frames, which come from `from`, into the pages that their receivers have posted, and
    /// notifies the receivers. There are fewer than twice [`BATCH`] deliveries: one for each frame,
    /// or at most [`BATCH`] in all for the frames that are flooded in this turn. A long packet may
    /// be delivered in segments.
    pub(super) fn deliver<H: Host<Memory = M>>(
        &mut self,
        host: &mut H,
        transfer: &mut Transfer,
        from: Origin,
        now: Instant,
    ) -> Delivered {
        let mut delivered = Delivered::default();
        if transfer.deliveries.is_empty() {
            return delivered;
        }
        let sender = serving::handle();
        let deliveries = std::mem::take(&mut transfer.deliveries);
        let mut next = Next::default();
        while next.delivery < deliveries.len() {
            self.place(&deliveries, &mut next, transfer, &mut delivered, (from, now));
            self.copy(host, transfer);
            serving::resume(sender);
            self.keep_late(transfer, &mut delivered, (from, now));
        }
        transfer.deliveries = deliveries;
        transfer.deliveries.clear();
        delivered
    }

    /// Lists the copies and responses of deliveries, from `next` on, until all are listed or the
    /// segments of long packets take all the room for them.
    fn place(
        &mut self,
        deliveries: &[Delivery],
        next: &mut Next,
        transfer: &mut Transfer,
        delivered: &mut Delivered,
        (from, now): (Origin, Instant),
    ) {
        transfer.copies.clear();
        transfer.answers.clear();
        transfer.touched.clear();
        transfer.buffers.clear_segments();
        // Consecutive frames are mostly for the same guest.
        let mut last = None;
        for delivery in &deliveries[next.delivery..] {
            let Delivery { to, frame, may_wait } = *delivery;
            let Some(port) = self.ports.get_mut(to.0 as usize) else {
                next.skip();
                continue;
            };
            if last != Some(to) {
                last = Some(to);
                port.begin_serving();
                if may_wait {
                    port.note(from, now);
                }
            }
            match port.fit(&frame) {
                Some(Fit::Whole) => place_one(port, delivery, transfer),
                Some(Fit::Segmented(segmentation)) => {
                    while next.segment < segments::count(segmentation, frame.length()) {
                        let Some(segment) =
                            transfer.buffers.segment(&frame, segmentation, next.segment)
                        else {
                            return;
                        };
                        next.segment += 1;
                        match segment {
                            Some(frame) => {
                                place_one(port, &Delivery { frame, ..*delivery }, transfer)
                            }
                            None => port.drop_frame(),
                        }
                    }
                }
                None => delivered.dropped += usize::from(may_wait),
            }
            next.skip();
        }
    }

    /// Makes the copies, writes the responses and notifies the receivers.
    fn copy<H: Host<Memory = M>>(&mut self, host: &mut H, transfer: &mut Transfer) {
        let Transfer { buffers, copies, answers, touched, work, full, .. } = transfer;
        if !copies.is_empty() {
            *work += copies.len();
            self.copy_mapped(buffers, copies, answers);
            if !copies.iter().all(|copy| copy.done) {
                mapped::make_others(copies, |copies| host.deliver(&buffers.memory, copies));
                for to in touched.iter().filter(|_| *full) {
                    if let Some(port) = self.ports.get_mut(to.0 as usize) {
                        let own = of_answers(answers, copies.iter());
                        let own = own.filter(|(answer, _)| answer.to == *to);
                        let own: Vec<GrantCopy> = own.map(|(_, copy)| *copy).collect();
                        port.learn(host, &own);
                    }
                }
            }
        }
        let mut copies = copies.iter();
        let mut last = None;
        for Answer { to, part } in answers.iter() {
            if let Some(port) = self.ports.get_mut(to.0 as usize) {
                if last != Some(*to) {
                    last = Some(*to);
                    port.begin_serving();
                }
                port.answer(*part, &mut copies);
            }
        }
        for to in touched.iter() {
            // A port may be in the list twice; a push without new responses does nothing.
            if let Some(port) = self.ports.get_mut(to.0 as usize) {
                port.begin_serving();
                port.push(host);
            }
        }
    }

    /// Makes the copies whose pages are mapped.
    fn copy_mapped(&self, buffers: &FrameBuffers, copies: &mut [GrantCopy], answers: &[Answer]) {
        for (Answer { to, .. }, copy) in of_answers(answers, copies) {
            if let Some(port) = self.ports.get(to.0 as usize) {
                port.deliver_mapped(&buffers.memory, copy);
            }
        }
    }

    /// Keeps the frames whose receivers have posted too few pages.
    fn keep_late(
        &mut self,
        transfer: &mut Transfer,
        delivered: &mut Delivered,
        (from, now): (Origin, Instant),
    ) {
        let Transfer { buffers, late, store, woken, .. } = transfer;
        for Delivery { to, frame, .. } in late.drain(..) {
            let Some(port) = self.ports.get_mut(to.0 as usize) else { continue };
            let frame =
                WaitingFrame { bytes: buffers.bytes(&frame).into(), offload: frame.offload };
            let kept = port.keep(frame, from, store, (self.id, to), now);
            delivered.hold |= kept.hold;
            if kept.waits {
                // The vif's turn asks the guest for an event when it posts pages.
                woken.push(port.turn());
            } else {
                delivered.dropped += 1;
            }
        }
    }
}

/// Lists the copies and responses of one frame, or the frame among those that have to wait.
fn place_one<M: SharedPage>(
    port: &mut BridgePort<M>,
    delivery: &Delivery,
    transfer: &mut Transfer,
) {
    let Transfer { buffers, copies, answers, touched, late, faults, .. } = transfer;
    let Delivery { to, mut frame, may_wait } = *delivery;
    port.complete(&mut frame, buffers);
    match port.has_pages_for_new(&frame, may_wait) {
        Ok(true) => {
            port.place(to, &frame, copies, answers);
            if touched.last() != Some(&to) {
                touched.push(to);
            }
        }
        Ok(false) if may_wait => late.push(Delivery { frame, ..*delivery }),
        Ok(false) => port.drop_frame(),
        Err(fault) => faults.push_back((port.turn(), fault)),
    }
}

/// Returns each copy with its answer: there is one with data for each copy, in the same order.
fn of_answers<C>(
    answers: &[Answer],
    copies: impl IntoIterator<Item = C>,
) -> impl Iterator<Item = (&Answer, C)> {
    let with_data = |answer: &&Answer| matches!(answer.part, AnswerPart::Data { .. });
    answers.iter().filter(with_data).zip(copies)
}
