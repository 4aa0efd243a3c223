// SPDX-License-Identifier: GPL-3.0-or-later
//! A guest's network interface: attached first, and served once its identity is known.

use std::time::Instant;

use noxs_control::{VifDevice, VifIdentity, VifStatus};
use xen_ring::SharedPage;

use super::flood::{Allowance, Rate};
use super::port::{BridgePort, Receiver};
use super::sender::{Most, Sender, max_frame};
use super::switch::{BridgePortId, End, Route};
use super::transfer::{BATCH, PAGES, SHARED_BATCH, SHARED_PAGES, Transfer, address, pages};
use super::waiting::{HOLD, Origin};
use super::{BridgeId, Net, NetFault};
use crate::host::PAGE_SIZE;
use crate::host::cx::Cx;
use crate::host::{GrantRef, Host, RemotePort};
use crate::turns::{After, Served};

/// A network interface, whose rings are mapped and whose port is bound. [`start`](Self::start)
/// puts it on its bridge.
#[derive(Debug)]
pub struct Vif {
    /// Number in its domain.
    index: u16,
    bridge: BridgeId,
    /// Offset of its rings in the domain's shared memory.
    base: usize,
    started: Option<Started>,
}

/// The two halves of a started interface.
#[derive(Debug)]
struct Started {
    sender: Sender,
    /// `None` once the device was released; the sender then has the counters of both halves.
    port: Option<BridgePortId>,
}

impl Vif {
    /// Ring pages of a vif: one for sending, one for receiving.
    pub const PAGES: usize = 2;

    /// Bytes of its ring pages.
    pub const RING_SIZE: usize = Self::PAGES * PAGE_SIZE;

    /// Returns the pages to map for a vif, in the order that [`attach`](Self::attach) expects.
    #[must_use]
    pub fn pages(device: &VifDevice) -> [GrantRef; Self::PAGES] {
        [GrantRef(device.tx_ring), GrantRef(device.rx_ring)]
    }

    /// Returns the port to bind for a vif.
    #[must_use]
    pub fn port(device: &VifDevice) -> RemotePort {
        RemotePort(device.port)
    }

    /// Creates a vif whose rings are at offset `base` of the domain's memory. No frame moves and no
    /// switch has its address until [`start`](Self::start) puts it on `bridge`.
    #[must_use]
    pub fn attach(device: &VifDevice, bridge: BridgeId, base: usize) -> Self {
        Self { index: device.index, bridge, base, started: None }
    }

    /// Puts the vif on its bridge with its identity, which the caller has checked. Continues where
    /// the rings' indices stand: at zero for a new guest, elsewhere for a guest that an earlier
    /// noxsd served or that has sent frames already. Returns how many requests wait.
    ///
    /// # Errors
    /// The guest wrote an impossible index. The vif is on its bridge nevertheless, until
    /// [`release`](Self::release) removes it.
    pub fn start<M: SharedPage>(
        &mut self,
        identity: &VifIdentity,
        receiver: Receiver<M>,
        net: &mut Net<M>,
        now: Instant,
    ) -> Result<u32, NetFault> {
        let mut sender = Sender::attach(&*receiver.memory, self.base, identity, now);
        // A zeroed ring page does not ask for events, so the guest would not send one.
        let waiting = sender.arm(&*receiver.memory);
        let (base, room) = (self.base + PAGE_SIZE, &net.room);
        let port = BridgePort::attach(receiver, base, max_frame(identity), room);
        let bridge = &mut net.bridges[self.bridge.0];
        let port = Some(bridge.add_port(port, identity.into()));
        self.started = Some(Started { sender, port });
        waiting
    }

    /// Sets the number of vifs of the domain, which share what may wait for the guest.
    pub fn share<M: SharedPage>(&self, net: &mut Net<M>, vifs: usize) {
        if let Some(Started { port: Some(own), .. }) = &self.started
            && let Some(port) = net.bridges[self.bridge.0].port_mut(*own)
        {
            port.share(vifs);
        }
    }

    /// Delivers frames that wait for the guest's pages, then takes a batch of frames from the guest
    /// and forwards them. `allowance` is what the guest's vifs together may flood.
    ///
    /// # Errors
    /// The guest wrote an impossible index.
    pub fn serve<H: Host>(
        &mut self,
        cx: &mut Cx<'_, H>,
        net: &mut Net<H::Memory>,
        allowance: &mut Allowance,
    ) -> Result<Served, NetFault> {
        let Some(Started { sender, port: Some(own) }) = &mut self.started else {
            return Ok(Served { after: After::Event, progress: false });
        };
        let own = *own;
        let bridge = &mut net.bridges[self.bridge.0];
        let transfer = &mut net.transfer;
        let mut progress = false;
        if let Some(port) = bridge.port_mut(own) {
            progress = port.deliver_waiting(cx.host, transfer, own, cx.now)? > 0;
        }
        let most = match (allowance.held(cx.now), cx.shared) {
            (Some(_), _) => Most { frames: 0, pages: 0 },
            (None, true) => Most { frames: SHARED_BATCH, pages: SHARED_PAGES },
            (None, false) => Most { frames: BATCH, pages: PAGES },
        };
        let taken = sender.take(cx.memory, cx.domid, cx.now, most, transfer)?;
        transfer.full = taken.frames >= most.frames || transfer.buffers.used() >= most.pages;
        let Transfer { buffers, copies, work, full, .. } = &mut *transfer;
        if !copies.is_empty() {
            *work += copies.len();
            if let Some(port) = bridge.port_mut(own) {
                port.fetch(cx.host, &mut buffers.memory, copies, *full);
            }
        }
        let from = End::Port(own);
        let mut passed = 0;
        for number in 0..transfer.sent.len() {
            let Some((mut frame, facts)) =
                sender.answer(cx.memory, number, transfer, own, &bridge.switch)
            else {
                continue;
            };
            bridge.switch.note(own, &sender.rules.addresses, &facts);
            let route = bridge.switch.route(&facts, from);
            let floods = route.floods();
            let mut rate = Rate::Often;
            if floods {
                // A flooded frame is copied for each receiver, so each domain has a limit.
                let ports = bridge.switch.targets(route).len();
                let allowed = allowance.take(ports, cx.now);
                let can_flood = transfer.buffers.complete_to_flood(&mut frame);
                let Some(allowed) = allowed.filter(|_| can_flood) else {
                    sender.drop_frame();
                    continue;
                };
                rate = allowed;
            }
            if floods || route == Route::One(End::Tap) {
                transfer.work += pages(frame.length());
                if bridge.send_to_tap(&frame, &mut transfer.buffers).is_err() {
                    sender.drop_frame();
                    if !floods {
                        continue;
                    }
                }
            }
            if !floods {
                address(&bridge.switch, route, from, frame, &mut transfer.deliveries);
            } else if !bridge.flood(route, (from, rate), frame, cx.now, transfer) {
                sender.drop_frame();
            }
            passed += usize::from(route != Route::Nowhere);
        }
        if sender.push(cx.memory) {
            cx.notify();
        }
        let delivered = bridge.deliver(cx.host, transfer, Origin::Domain(cx.domid), cx.now);
        if delivered.hold {
            allowance.hold(cx.now + HOLD);
        }
        // Several segments of a frame may have been dropped.
        passed = passed.saturating_sub(delivered.dropped);
        // Frames that are dropped cost as much as others, so most must reach a receiver.
        progress |= passed > 0 && passed * 2 >= taken.frames;

        let (mut has_pages, mut has_waiting) = (false, false);
        if let Some(port) = bridge.port_mut(own) {
            has_pages = port.arm()?;
            has_waiting = port.has_waiting();
        }
        if let Some(time) = allowance.held(cx.now).or(taken.not_before) {
            // The limit on sending must not delay frames for the guest.
            let after = match (has_pages, has_waiting) {
                (false, false) => After::Time(time),
                (false, true) => After::TimeOrEvent(time),
                _ => After::Turn,
            };
            return Ok(Served { after, progress });
        }
        let requests = sender.arm(cx.memory)?;
        let after = if requests == 0 && !has_pages { After::Event } else { After::Turn };
        Ok(Served { after, progress })
    }

    /// Removes the vif from its bridge, and the frames that wait for it. Keeps its counters.
    pub fn release<M>(&mut self, net: &mut Net<M>) {
        let Some(Started { sender, port }) = &mut self.started else { return };
        let Some(port) = port.take() else { return };
        let bridge = &mut net.bridges[self.bridge.0];
        let store = &mut net.transfer.store;
        let received = bridge.remove_port(port, sender.rules.addresses, store);
        sender.traffic = sum(sender.traffic, received);
    }

    /// Returns the vif's number in its domain.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Returns the bridge that the vif is on, or will be put on.
    #[must_use]
    pub fn bridge(&self) -> BridgeId {
        self.bridge
    }

    /// Returns whether the vif was put on its bridge.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.started.is_some()
    }

    /// Returns how much has passed.
    #[must_use]
    pub fn status<M>(&self, net: &Net<M>) -> VifStatus {
        let Some(Started { sender, port }) = &self.started else { return VifStatus::default() };
        let port = port.and_then(|id| net.bridges[self.bridge.0].port(id));
        port.map_or(sender.traffic, |port| sum(sender.traffic, port.traffic()))
    }
}

fn sum(one: VifStatus, other: VifStatus) -> VifStatus {
    VifStatus {
        from_guest_bytes: one.from_guest_bytes + other.from_guest_bytes,
        from_guest_frames: one.from_guest_frames + other.from_guest_frames,
        to_guest_bytes: one.to_guest_bytes + other.to_guest_bytes,
        to_guest_frames: one.to_guest_frames + other.to_guest_frames,
        dropped_frames: one.dropped_frames + other.dropped_frames,
    }
}
