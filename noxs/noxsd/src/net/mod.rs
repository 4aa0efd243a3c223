// SPDX-License-Identifier: GPL-3.0-or-later
//! Network interfaces, and the bridges that they are on.
//!
//! A [`vif::Vif`] is a guest's interface: its [`sender`] takes frames out of the guest's ring and
//! checks them, its [`port::BridgePort`] puts frames into the guest's pages. The port belongs to
//! the [`bridge::Bridge`], as do the [`switch`], which decides where a frame goes, and the tap to
//! dom0. So a vif reaches all receivers of its frames through its bridge. [`transfer`] holds the
//! frames of one turn, [`frame`] reads the headers of a frame, and [`rules`] decide which frames may
//! pass. [`flood`] limits frames for many ports, [`waiting`] those that wait for a guest. [`dom0`]
//! is the addresses that the rules need beside those of requests.
//!
//! A restarted noxsd continues where the rings' indices stand; see [`vif::Vif::start`].

pub mod bridge;
mod chain;
pub mod checksum;
pub mod dom0;
pub mod flood;
pub mod frame;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), allow(dead_code))]
#[allow(clippy::unwrap_used)]
pub(crate) mod frontend;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod mapped;
pub mod offload;
#[cfg(test)]
pub(crate) mod offload_tests;
pub mod port;
mod request;
pub mod rules;
pub mod segments;
pub mod sender;
pub mod switch;
pub mod tap;
pub mod transfer;
pub mod vif;
pub mod waiting;

use std::collections::HashMap;
use std::fs::File;
use std::time::Instant;

use noxs_control::Refusal;
use xen_abi::io::netif::{SLOTS_OF_FRAME, XEN_NETIF_EXTRA_TYPE_MAX};
use xen_ring::{BrokenRing, SharedPage};

pub use self::bridge::BridgeTurns;
use self::bridge::{Bridge, TapFault};
use self::dom0::interfaces::Interfaces;
use self::dom0::netlink::Message;
pub use self::request::identities;
use self::transfer::Transfer;
use crate::host::Host;
use crate::host::mapped::Room;
use crate::turns::{After, TurnId};

/// Identifies a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeId(pub usize);

/// What a guest did that costs it a vif.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetFault {
    /// It wrote a request index that a correct front end cannot write into one of the two rings.
    #[error(
        "the guest set the request index of its {} ring to {}, which is impossible: noxsd has \
         taken {} requests and answered {}, and the ring has {} slots",
        .0.ring, .0.found, .0.consumed, .0.answered, .0.slots
    )]
    RequestIndex(#[from] BrokenRing),
    /// It published some slots of a frame without the others.
    #[error("the guest sent a frame whose last slots it did not publish")]
    UnfinishedFrame,
    /// It sent a frame in more slots than a frame may have.
    #[error("the guest sent a frame in more than {SLOTS_OF_FRAME} slots")]
    TooManySlots,
    /// It sent an extra info that is not one.
    #[error(
        "the guest sent an extra info of type {kind}: must be 1 to {}, each at most once",
        XEN_NETIF_EXTRA_TYPE_MAX - 1
    )]
    ExtraInfo {
        /// `XEN_NETIF_EXTRA_TYPE_*`.
        kind: u8,
    },
}

/// All bridges, and the frames of the turn that is being served.
#[derive(Debug)]
pub struct Net<M> {
    bridges: Vec<Bridge<M>>,
    by_name: HashMap<String, BridgeId>,
    interfaces: Interfaces,
    transfer: Transfer,
    /// The pages of frames that are mapped, with those of the other devices.
    room: Room<M>,
}

impl<M> Net<M> {
    /// Creates what vifs share, before there is a bridge.
    pub(crate) fn new(room: Room<M>) -> Self {
        Self {
            bridges: Vec::new(),
            by_name: HashMap::new(),
            interfaces: Interfaces::default(),
            transfer: Transfer::default(),
            room,
        }
    }

    /// Adds a bridge. `turns` adds the owners of its turns.
    ///
    /// # Errors
    /// There is a bridge of that name already.
    pub fn add_bridge(
        &mut self,
        name: &str,
        tap: File,
        now: Instant,
        turns: impl FnOnce(BridgeId) -> BridgeTurns,
    ) -> Result<BridgeId, Refusal> {
        if self.by_name.contains_key(name) {
            return Err(Refusal::Invalid(format!("bridge {name} has a switch already")));
        }
        let id = BridgeId(self.bridges.len());
        self.by_name.insert(name.to_owned(), id);
        let mut bridge = Bridge::new(id, name, tap, turns(id), now);
        bridge.switch.set_dom0(self.interfaces.addresses(name));
        self.bridges.push(bridge);
        Ok(id)
    }

    /// Replaces what is known of dom0's interfaces, and so of dom0's addresses on the bridges.
    pub fn set_interfaces(&mut self, interfaces: Interfaces) {
        self.interfaces = interfaces;
        self.assign_dom0();
    }

    /// Records what the kernel has reported of dom0's interfaces.
    pub fn update_interfaces(&mut self, messages: impl Iterator<Item = Message>) {
        let mut changed = false;
        for message in messages {
            changed |= self.interfaces.update(message);
        }
        if changed {
            self.assign_dom0();
        }
    }

    fn assign_dom0(&mut self) {
        for bridge in &mut self.bridges {
            let addresses = self.interfaces.addresses(bridge.name());
            if *bridge.switch.dom0() != addresses {
                bridge.switch.set_dom0(addresses);
            }
        }
    }

    /// Returns whether dom0 has an IPv4 address on a bridge.
    #[cfg(test)]
    pub(crate) fn dom0_has(&self, bridge: &str, address: std::net::Ipv4Addr) -> bool {
        self.bridge(bridge).is_some_and(|id| self.bridges[id.0].switch.dom0().has_ipv4(address))
    }

    fn bridge(&self, name: &str) -> Option<BridgeId> {
        self.by_name.get(name).copied()
    }

    /// Returns the owner of the turns in which a bridge's tap is served.
    #[must_use]
    pub fn tap_turn(&self, id: BridgeId) -> Option<TurnId> {
        self.bridges.get(id.0).map(Bridge::turn)
    }

    /// Takes a batch of frames out of a bridge's tap and delivers them.
    ///
    /// # Errors
    /// The tap cannot be read. Frames that were read before are delivered.
    pub fn serve_tap<H: Host<Memory = M>>(
        &mut self,
        id: BridgeId,
        host: &mut H,
        now: Instant,
    ) -> Result<After, TapFault>
    where
        M: SharedPage,
    {
        self.bridges[id.0].serve_tap(host, &mut self.transfer, now)
    }

    /// Continues the floods of a bridge.
    pub fn serve_floods<H: Host<Memory = M>>(
        &mut self,
        id: BridgeId,
        host: &mut H,
        now: Instant,
    ) -> After
    where
        M: SharedPage,
    {
        self.bridges[id.0].serve_floods(host, &mut self.transfer, now)
    }

    /// Begins to count the work of a turn.
    pub fn begin_turn(&mut self) {
        self.transfer.work = 0;
    }

    /// Returns how many frames were copied from and to guests, and read from and written to taps,
    /// since the beginning of the turn.
    #[must_use]
    pub fn work(&self) -> usize {
        self.transfer.work
    }

    /// Returns when [`check_waiting`](Self::check_waiting) is due; `None` if no frame waits.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.transfer.store.deadline()
    }

    /// Drops frames that have waited for too long.
    pub fn check_waiting(&mut self, now: Instant) {
        let store = &mut self.transfer.store;
        for check in store.due(now) {
            self.bridges[check.bridge.0].check_waiting(check, store, now);
        }
    }

    /// Removes and returns the vifs for which frames have begun to wait, and the bridges whose
    /// floods continue, since the last call.
    pub fn take_woken(&mut self) -> impl Iterator<Item = TurnId> {
        self.transfer.woken.drain(..)
    }

    /// Removes and returns a vif whose ring turned out to be broken when a frame for it came, in
    /// the turn of another vif or of a tap.
    pub fn take_fault(&mut self) -> Option<(TurnId, NetFault)> {
        self.transfer.faults.pop_front()
    }

    /// Returns how many bytes the frames take that wait until their receivers post pages.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.transfer.store.bytes()
    }
}
