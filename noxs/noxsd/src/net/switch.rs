// SPDX-License-Identifier: GPL-3.0-or-later
//! Decides which ports of a bridge a frame goes to.
//!
//! The addresses of guests are known before they run, so the switch does not learn them: a frame
//! for a guest's address goes to that guest, any other to the tap, behind which the rest of the
//! network is. An ARP request goes to the one guest that owns the requested address. Both take one
//! lookup in a table, whatever the number of guests. So does the IPv6 counterpart, a neighbour
//! solicitation for an address of a guest.
//!
//! Other IPv6 multicasts go to the guests that have sent an IPv6 packet. A host sends one before it
//! uses an address (RFC 4862, section 5.4), so the others do not use IPv6 and need not wake for each
//! router solicitation from dom0. A guest with a fixed IPv6 address gets them only once it has sent
//! a multicast other than those of neighbour discovery, such as a report of groups ([`listens`]):
//! solicitations for its addresses reach it anyway. Only other broadcasts and multicasts are copied to
//! all guests, and each sender may cause a limited number of them.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{Ipv4Addr, Ipv6Addr};

use noxs::{MacAddr, eui64};
use noxs_control::VifIdentity;

use super::dom0::Dom0Addresses;
use super::frame::{Arp, Discovery, FrameFacts, Payload};
use crate::turns::id_table::IdTable;

/// Identifies a port of a bridge. The caller chooses the number, which must be small because it
/// indexes a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BridgePortId(pub u32);

/// The addresses of a guest's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortAddresses {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IPv4 address, if it has a fixed one.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address, if it has a fixed one.
    pub ipv6: Option<Ipv6Addr>,
}

impl PortAddresses {
    /// Returns the addresses of a port without a fixed IPv6 address.
    #[must_use]
    pub fn new(mac: MacAddr, ipv4: Option<Ipv4Addr>) -> Self {
        Self { mac, ipv4, ipv6: None }
    }

    /// Returns whether the port has a fixed address, so that the guest may use no other.
    #[must_use]
    pub fn are_fixed(&self) -> bool {
        self.ipv4.is_some() || self.ipv6.is_some()
    }
}

impl From<&VifIdentity> for PortAddresses {
    fn from(identity: &VifIdentity) -> Self {
        let VifIdentity { mac, ipv4, ipv6, mtu: _, rate: _ } = *identity;
        Self { mac, ipv4, ipv6 }
    }
}

/// Returns whether a port that has sent this frame is to get IPv6 multicasts. One with a fixed
/// address that only announces it, asks for its gateway and answers is not, so that its announcement
/// does not wake all others of its kind.
#[must_use]
pub fn listens(addresses: &PortAddresses, facts: &FrameFacts) -> bool {
    let Payload::Ipv6(discovery) = facts.payload else { return false };
    addresses.ipv6.is_none() || (facts.destination.is_multicast() && discovery == Discovery::Other)
}

/// Where a frame comes from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A guest.
    Port(BridgePortId),
    /// The tap.
    Tap,
}

/// Where a frame goes. It never goes back to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To one end.
    One(End),
    /// To the tap and to all ports.
    All,
    /// To the tap and to the ports whose addresses are not known.
    Unaddressed,
    /// To the tap and to the ports that use IPv6.
    Ipv6,
    /// The frame is dropped.
    Nowhere,
}

impl Route {
    /// Returns whether the frame is copied to many ports.
    #[must_use]
    pub fn floods(self) -> bool {
        matches!(self, Self::All | Self::Unaddressed | Self::Ipv6)
    }
}

/// Ports that the tables have room for without being moved.
#[cfg(not(feature = "fuzzing"))]
const CAPACITY: u32 = 16 * 1024;
/// A fuzz target creates a switch for each input.
#[cfg(feature = "fuzzing")]
const CAPACITY: u32 = 16;

/// Port numbers are below; see [`BridgePortId`].
const MAX_PORTS: usize = 1 << 17;

/// The tables of one switch.
#[derive(Debug)]
pub struct Switch {
    by_mac: HashMap<MacAddr, BridgePortId>,
    by_ipv4: HashMap<Ipv4Addr, BridgePortId>,
    by_ipv6: HashMap<Ipv6Addr, BridgePortId>,
    ports: PortList,
    unaddressed: PortList,
    ipv6: PortList,
    dom0: Dom0Addresses,
    changes: u64,
    /// The last destination of a frame from a guest, and of one from the tap, with the end that has
    /// it: most frames of one direction have the same.
    last: [Cell<Option<(MacAddr, End)>>; 2],
}

/// Another port of the switch has the MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacInUse(pub MacAddr);

impl Default for Switch {
    fn default() -> Self {
        Self {
            by_mac: prefaulted(|number| {
                MacAddr([0, 0, number[0], number[1], number[2], number[3]])
            }),
            by_ipv4: prefaulted(Ipv4Addr::from),
            by_ipv6: HashMap::new(),
            ports: PortList::default(),
            unaddressed: PortList::default(),
            ipv6: PortList::default(),
            dom0: Dom0Addresses::default(),
            changes: 0,
            last: [const { Cell::new(None) }; 2],
        }
    }
}

/// Returns an empty table whose pages are already faulted in.
fn prefaulted<K: Eq + Hash>(key: impl Fn([u8; 4]) -> K) -> HashMap<K, BridgePortId> {
    let mut table = HashMap::with_capacity(CAPACITY as usize);
    table.extend((0..CAPACITY).map(|number| (key(number.to_be_bytes()), BridgePortId(0))));
    table.clear();
    table
}

impl Switch {
    /// Adds a port. If another port has the same IPv4 or IPv6 address already, requests for it still
    /// go to that port.
    ///
    /// # Errors
    /// Another port has the MAC address; nothing is added.
    pub fn add(&mut self, port: BridgePortId, addresses: PortAddresses) -> Result<(), MacInUse> {
        let PortAddresses { mac, ipv4, ipv6 } = addresses;
        if self.by_mac.contains_key(&mac) {
            return Err(MacInUse(mac));
        }
        self.change();
        self.by_mac.insert(mac, port);
        self.ports.add(port);
        if let Some(ipv4) = ipv4 {
            self.by_ipv4.entry(ipv4).or_insert(port);
        }
        if let Some(ipv6) = ipv6 {
            self.by_ipv6.entry(ipv6).or_insert(port);
        }
        if !addresses.are_fixed() {
            self.unaddressed.add(port);
        }
        Ok(())
    }

    /// Returns the port that has a MAC address.
    #[must_use]
    pub fn owner_of_mac(&self, mac: MacAddr) -> Option<BridgePortId> {
        self.by_mac.get(&mac).copied()
    }

    /// Returns the port that has an IPv4 address.
    #[must_use]
    pub fn owner_of_ipv4(&self, ipv4: Ipv4Addr) -> Option<BridgePortId> {
        self.by_ipv4.get(&ipv4).copied()
    }

    /// Returns the port that has an IPv6 address: it is fixed, or derived from the port's MAC
    /// address. The switch knows no other IPv6 addresses of guests.
    #[must_use]
    pub fn owner_of_ipv6(&self, address: Ipv6Addr) -> Option<BridgePortId> {
        let fixed = self.by_ipv6.get(&address).copied();
        fixed.or_else(|| eui64::mac(address).and_then(|mac| self.owner_of_mac(mac)))
    }

    /// Returns dom0's own addresses on the bridge.
    #[must_use]
    pub fn dom0(&self) -> &Dom0Addresses {
        &self.dom0
    }

    /// Replaces dom0's own addresses on the bridge.
    pub fn set_dom0(&mut self, addresses: Dom0Addresses) {
        self.change();
        self.dom0 = addresses;
    }

    /// Returns whether an IPv4 address is known to belong to another port than `own`, or to dom0.
    #[must_use]
    pub fn is_anothers_ipv4(&self, address: Ipv4Addr, own: BridgePortId) -> bool {
        self.owner_of_ipv4(address).is_some_and(|port| port != own) || self.dom0.has_ipv4(address)
    }

    /// Returns whether an IPv6 address is known to belong to another port than `own`, or to dom0.
    #[must_use]
    pub fn is_anothers_ipv6(&self, address: Ipv6Addr, own: BridgePortId) -> bool {
        self.owner_of_ipv6(address).is_some_and(|port| port != own) || self.dom0.has_ipv6(address)
    }

    /// Returns how often the known addresses have changed, so that what was derived from them can
    /// be kept.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Records that addresses change, so that nothing is used that was derived from them.
    fn change(&mut self) {
        self.changes += 1;
        for last in &self.last {
            last.set(None);
        }
    }

    /// Removes a port. The addresses must be those that the port was added with.
    pub fn remove(&mut self, port: BridgePortId, addresses: PortAddresses) {
        let PortAddresses { mac, ipv4, ipv6 } = addresses;
        self.change();
        if self.by_mac.get(&mac) == Some(&port) {
            self.by_mac.remove(&mac);
        }
        if let Some(ipv4) = ipv4
            && self.by_ipv4.get(&ipv4) == Some(&port)
        {
            self.by_ipv4.remove(&ipv4);
        }
        if let Some(ipv6) = ipv6
            && self.by_ipv6.get(&ipv6) == Some(&port)
        {
            self.by_ipv6.remove(&ipv6);
        }
        self.ports.remove(port);
        self.unaddressed.remove(port);
        self.ipv6.remove(port);
    }

    /// Records that a port with these addresses has sent a frame that it was allowed to send.
    pub fn note(&mut self, port: BridgePortId, addresses: &PortAddresses, facts: &FrameFacts) {
        if listens(addresses, facts) {
            self.ipv6.add(port);
        }
    }

    /// Returns where a frame goes that comes from `from`.
    #[must_use]
    pub fn route(&self, facts: &FrameFacts, from: End) -> Route {
        let to = if facts.destination.is_multicast() {
            match facts.payload {
                Payload::Arp(arp) if arp.request => self.route_arp(&arp, from),
                Payload::Ipv6(Discovery::Solicitation(target)) => {
                    self.route_solicitation(target, from)
                }
                Payload::Ipv6(_) => Route::Ipv6,
                _ => Route::All,
            }
        } else {
            Route::One(self.end(facts.destination, from))
        };
        if to == Route::One(from) { Route::Nowhere } else { to }
    }

    /// Returns the end that has an address, for a frame from `from`.
    fn end(&self, mac: MacAddr, from: End) -> End {
        let last = &self.last[usize::from(from == End::Tap)];
        match last.get() {
            Some((known, end)) if known == mac => end,
            _ => {
                let end = self.owner_of_mac(mac).map_or(End::Tap, End::Port);
                last.set(Some((mac, end)));
                end
            }
        }
    }

    /// Returns where an ARP request goes: to the owner of the address alone. Announcements have no
    /// single receiver. One from a guest need not go to the guests whose addresses are known; one
    /// from the tap may concern each guest's ARP cache.
    fn route_arp(&self, arp: &Arp, from: End) -> Route {
        if arp.is_announcement() {
            return match from {
                End::Tap => Route::All,
                End::Port(_) => Route::Unaddressed,
            };
        }
        match self.by_ipv4.get(&arp.target) {
            // A guest probes its own address to find others that use it.
            Some(port) if End::Port(*port) == from => Route::Unaddressed,
            Some(port) => Route::One(End::Port(*port)),
            None => Route::Unaddressed,
        }
    }

    /// Returns where a neighbour solicitation goes: to the owner of the address alone.
    fn route_solicitation(&self, target: Ipv6Addr, from: End) -> Route {
        match self.owner_of_ipv6(target).map(End::Port) {
            // Before a guest uses its own address, it asks others whether they use it.
            Some(own) if own == from => Route::Ipv6,
            Some(owner) => Route::One(owner),
            None => Route::Ipv6,
        }
    }

    /// Returns the ports of a route that [floods](Route::floods), and none for other routes.
    #[must_use]
    pub fn targets(&self, route: Route) -> &[BridgePortId] {
        match route {
            Route::All => &self.ports.list,
            Route::Unaddressed => &self.unaddressed.list,
            Route::Ipv6 => &self.ipv6.list,
            Route::One(_) | Route::Nowhere => &[],
        }
    }
}

/// A list of ports that is contiguous in memory. Adding and removing a port takes constant time.
#[derive(Debug)]
struct PortList {
    list: Vec<BridgePortId>,
    positions: IdTable<usize>,
}

impl Default for PortList {
    fn default() -> Self {
        Self { list: Vec::with_capacity(CAPACITY as usize), positions: IdTable::new(MAX_PORTS) }
    }
}

impl PortList {
    fn add(&mut self, port: BridgePortId) {
        if self.positions.get(port.0).is_none() {
            self.positions.insert(port.0, self.list.len());
            self.list.push(port);
        }
    }

    fn remove(&mut self, port: BridgePortId) {
        let Some(position) = self.positions.remove(port.0) else { return };
        self.list.swap_remove(position);
        if let Some(moved) = self.list.get(position) {
            self.positions.insert(moved.0, position);
        }
    }
}

#[cfg(test)]
#[path = "switch_tests.rs"]
mod tests;
