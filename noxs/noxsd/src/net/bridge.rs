// SPDX-License-Identifier: GPL-3.0-or-later
//! A bridge: its switch, the ports of its guests, and its tap to dom0.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use noxs::MacAddr;
use noxs_control::VifStatus;
use slab::Slab;
use xen_ring::SharedPage;

use super::frame::FrameFacts;
use super::port::BridgePort;
use super::rules::TapRules;
use super::switch::{BridgePortId, End, Switch};
use super::transfer::{BATCH, Delivery, Transfer, address};
use crate::host::Host;
use crate::host::buffers::BufferIndex;
use crate::turns::bucket::Bucket;
use crate::turns::{After, TurnId};

/// Frames from a tap that may be flooded in each [`TAP_FLOOD_INTERVAL`].
const TAP_FLOOD_FRAMES: u64 = 1000;
const TAP_FLOOD_INTERVAL: Duration = Duration::from_secs(1);

/// Most copies in one request to the kernel. A frame for more guests takes several requests.
const COPIES: usize = 256;

/// Ports that the table has room for without being moved.
const CAPACITY: usize = 16 * 1024;

/// Why a tap cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the tap of bridge {bridge}: {error}")]
pub struct TapFault {
    bridge: String,
    error: io::Error,
}

/// A bridge and its ports.
#[derive(Debug)]
pub struct Bridge<M> {
    name: String,
    pub(super) switch: Switch,
    ports: Slab<BridgePort<M>>,
    tap: File,
    turn: TurnId,
    rules: TapRules,
    flood: Bucket,
}

impl<M> Bridge<M> {
    /// Creates a bridge without ports. `turn` is the owner of the tap's turns.
    pub(super) fn new(name: &str, tap: File, turn: TurnId, now: Instant) -> Self {
        Self {
            name: name.to_owned(),
            switch: Switch::default(),
            ports: Slab::with_capacity(CAPACITY),
            tap,
            turn,
            rules: TapRules::default(),
            flood: Bucket::new(TAP_FLOOD_FRAMES, TAP_FLOOD_INTERVAL, 1, now),
        }
    }

    /// Returns the name of the Linux bridge.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the owner of the tap's turns.
    pub(super) fn turn(&self) -> TurnId {
        self.turn
    }

    /// Adds a port, whose guest has these addresses. No other port may have the MAC address.
    ///
    /// # Panics
    /// If the bridge has 2^32 ports, which Xen's 2^15 domids do not allow.
    pub(super) fn add_port(
        &mut self,
        port: BridgePort<M>,
        mac: MacAddr,
        ipv4: Option<Ipv4Addr>,
    ) -> BridgePortId {
        let number = self.ports.insert(port);
        // Two ports must not share an ID.
        let Ok(number) = u32::try_from(number) else { panic!("port {number} of a bridge") };
        let id = BridgePortId(number);
        let added = self.switch.add(id, mac, ipv4);
        debug_assert_eq!(added, Ok(()), "the MAC address was checked");
        id
    }

    /// Removes a port and the frames that wait for it. Returns how much has passed through it. The
    /// addresses must be those that the port was added with.
    pub(super) fn remove_port(
        &mut self,
        id: BridgePortId,
        mac: MacAddr,
        ipv4: Option<Ipv4Addr>,
        waiting_bytes: &mut usize,
    ) -> VifStatus {
        self.switch.remove(id, mac, ipv4);
        let Some(port) = self.ports.try_remove(id.0 as usize) else { return VifStatus::default() };
        *waiting_bytes -= port.waiting_bytes();
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
    pub(super) fn send_to_tap(&mut self, frame: &[u8]) -> io::Result<()> {
        self.tap.write(frame).map(drop)
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
        let Transfer { buffers, deliveries, .. } = &mut *transfer;
        let mut result = Ok(After::Turn);
        for buffer in (0..BATCH).map(BufferIndex) {
            let length = match self.tap.read(buffers.get_mut(buffer)) {
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
            let frame = &buffers.get(buffer)[..length];
            let Some(facts) = FrameFacts::of(frame) else { continue };
            if !self.rules.may_enter(&facts, frame, &self.switch) {
                continue;
            }
            let route = self.switch.route(&facts, End::Tap);
            if route.floods()
                && !self.switch.targets(route).is_empty()
                && self.flood.take(1, now).is_err()
            {
                continue;
            }
            // Always fits, because a buffer is one page.
            let Ok(length) = u16::try_from(length) else { continue };
            address(&self.switch, route, End::Tap, buffer, length, deliveries);
        }
        self.deliver(host, transfer);
        result
    }

    /// Copies frames into the pages that their receivers have posted, and notifies the receivers.
    pub(super) fn deliver<H: Host<Memory = M>>(&mut self, host: &mut H, transfer: &mut Transfer) {
        let mut from = 0;
        while from < transfer.deliveries.len() {
            let to = transfer.deliveries.len().min(from + COPIES);
            self.deliver_part(from..to, host, transfer);
            from = to;
        }
        transfer.deliveries.clear();
    }

    fn deliver_part<H: Host<Memory = M>>(
        &mut self,
        part: std::ops::Range<usize>,
        host: &mut H,
        transfer: &mut Transfer,
    ) {
        let Transfer { buffers, copies, deliveries, answers, touched, late, .. } = transfer;
        copies.clear();
        answers.clear();
        touched.clear();
        for delivery in &deliveries[part] {
            let Delivery { to, buffer, length, may_wait } = *delivery;
            let Some(port) = self.ports.get_mut(to.0 as usize) else { continue };
            if !port.accepts(length) {
                continue;
            }
            match port.page_for_new() {
                Ok(Some(posted)) => {
                    copies.push(port.copy(posted, buffer, length));
                    answers.push((to, posted.id));
                    // Consecutive frames are mostly for the same guest.
                    if touched.last() != Some(&to) {
                        touched.push(to);
                    }
                }
                Ok(None) if may_wait => late.push(*delivery),
                Ok(None) => port.drop_frame(),
                Err(fault) => transfer.faults.push_back((port.turn(), fault)),
            }
        }
        if !copies.is_empty() {
            host.deliver(buffers, copies);
        }
        for ((to, id), copy) in answers.iter().zip(copies.iter()) {
            if let Some(port) = self.ports.get_mut(to.0 as usize) {
                port.answer(*id, copy);
            }
        }
        for to in touched.iter() {
            // A port may be in the list twice; a push without new responses does nothing.
            if let Some(port) = self.ports.get_mut(to.0 as usize) {
                port.push(host);
            }
        }
        for Delivery { to, buffer, length, .. } in late.drain(..) {
            let Some(port) = self.ports.get_mut(to.0 as usize) else { continue };
            let frame = &buffers.get(buffer)[..usize::from(length)];
            if port.keep(frame, &mut transfer.waiting_bytes) {
                // The vif's turn asks the guest for an event when it posts pages.
                transfer.woken.push(port.turn());
            }
        }
    }
}
