//! Which ports of a bridge a frame goes to.
//!
//! The addresses of guests are known before they run, so nothing has to be learned about them:
//! a frame for a guest's address goes to that guest, any other to the tap, behind which the rest
//! of the world is. An ARP request goes to the one guest that owns the address it asks for. Both
//! are one look into a table, whatever the number of guests. Multicasts of IPv6 go to those that
//! have sent something of IPv6: a host does before it uses an address (RFC 4862, section 5.4), so
//! one that has sent nothing has no use for them, and need not wake for each router solicitation of
//! dom0's. Only other broadcasts and multicasts are copied to all, and how many copied frames one
//! sender may cause is limited.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;

use noxs::MacAddr;

use super::frame::{Arp, FrameFacts, Payload};
use crate::turns::id_table::IdTable;

/// Names a port of a bridge. The number is the caller's, and small: it indexes a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BridgePortId(pub u32);

/// Where a frame comes from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A guest.
    Port(BridgePortId),
    /// The tap.
    Tap,
}

/// What happens to a frame. It never goes back where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// It goes to one place.
    One(End),
    /// It goes to the tap and to all ports, but not to its sender.
    All,
    /// It goes to the tap and to those ports whose address is not known, but not to its sender.
    Unaddressed,
    /// It goes to the tap and to those ports that use IPv6, but not to its sender.
    Ipv6,
    /// It goes nowhere.
    Nowhere,
}

impl Route {
    /// Returns whether there is a copy for each of many.
    #[must_use]
    pub fn floods(self) -> bool {
        matches!(self, Self::All | Self::Unaddressed | Self::Ipv6)
    }
}

/// Ports that the tables are made for; with more, they have to be moved once in a while.
const CAPACITY: u32 = 16 * 1024;

/// Ports whose places are kept in a table without moving it; see [`BridgePortId`].
const MAX_PORTS: usize = 1 << 17;

/// The tables of one switch.
#[derive(Debug)]
pub struct Switch {
    by_mac: HashMap<MacAddr, BridgePortId>,
    by_ipv4: HashMap<Ipv4Addr, BridgePortId>,
    ports: PortList,
    unaddressed: PortList,
    ipv6: PortList,
}

/// Another port of the switch has the MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacInUse(pub MacAddr);

impl Default for Switch {
    fn default() -> Self {
        Self {
            by_mac: touched(|number| MacAddr([0, 0, number[0], number[1], number[2], number[3]])),
            by_ipv4: touched(Ipv4Addr::from),
            ports: PortList::default(),
            unaddressed: PortList::default(),
            ipv6: PortList::default(),
        }
    }
}

/// Returns an empty table whose pages are already faulted in.
fn touched<K: Eq + Hash>(key: impl Fn([u8; 4]) -> K) -> HashMap<K, BridgePortId> {
    let mut table = HashMap::with_capacity(CAPACITY as usize);
    table.extend((0..CAPACITY).map(|number| (key(number.to_be_bytes()), BridgePortId(0))));
    table.clear();
    table
}

impl Switch {
    /// Adds a port. If another port has the same IPv4 address already, that one keeps getting the
    /// ARP requests for it.
    ///
    /// # Errors
    /// The MAC address is taken; nothing is added.
    pub fn add(
        &mut self,
        port: BridgePortId,
        mac: MacAddr,
        ipv4: Option<Ipv4Addr>,
    ) -> Result<(), MacInUse> {
        if self.by_mac.contains_key(&mac) {
            return Err(MacInUse(mac));
        }
        self.by_mac.insert(mac, port);
        self.ports.add(port);
        match ipv4 {
            Some(ipv4) => {
                self.by_ipv4.entry(ipv4).or_insert(port);
            }
            None => self.unaddressed.add(port),
        }
        Ok(())
    }

    /// Returns whether a port has the address.
    #[must_use]
    pub fn has(&self, mac: MacAddr) -> bool {
        self.by_mac.contains_key(&mac)
    }

    /// Removes a port. The addresses are those it was added with.
    pub fn remove(&mut self, port: BridgePortId, mac: MacAddr, ipv4: Option<Ipv4Addr>) {
        if self.by_mac.get(&mac) == Some(&port) {
            self.by_mac.remove(&mac);
        }
        if let Some(ipv4) = ipv4
            && self.by_ipv4.get(&ipv4) == Some(&port)
        {
            self.by_ipv4.remove(&ipv4);
        }
        self.ports.remove(port);
        self.unaddressed.remove(port);
        self.ipv6.remove(port);
    }

    /// Notes what a port of this switch has sent, and was allowed to.
    pub fn note(&mut self, port: BridgePortId, facts: &FrameFacts) {
        if facts.payload == Payload::Ipv6 {
            self.ipv6.add(port);
        }
    }

    /// Returns where a frame goes that comes from `from`.
    #[must_use]
    pub fn route(&self, facts: &FrameFacts, from: End) -> Route {
        let to = if facts.destination.is_multicast() {
            match facts.payload {
                Payload::Arp(arp) if arp.request => self.route_arp(&arp, from),
                Payload::Ipv6 => Route::Ipv6,
                _ => Route::All,
            }
        } else {
            match self.by_mac.get(&facts.destination) {
                Some(port) => Route::One(End::Port(*port)),
                None => Route::One(End::Tap),
            }
        };
        if to == Route::One(from) { Route::Nowhere } else { to }
    }

    /// An ARP request is for the owner of the address alone. An announcement of a guest's own
    /// address concerns those outside; one from outside may concern each guest's cache.
    fn route_arp(&self, arp: &Arp, from: End) -> Route {
        if arp.is_announcement() {
            return match from {
                End::Tap => Route::All,
                End::Port(_) => Route::Unaddressed,
            };
        }
        match self.by_ipv4.get(&arp.target) {
            // A probe for an address that the prober itself owns is for others that may use it.
            Some(port) if End::Port(*port) == from => Route::Unaddressed,
            Some(port) => Route::One(End::Port(*port)),
            None => Route::Unaddressed,
        }
    }

    /// Returns the ports of a route that [floods](Route::floods); none for other routes.
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

/// Ports in one piece of memory, for walking over them; adding and removing one does not walk.
#[derive(Debug)]
struct PortList {
    list: Vec<BridgePortId>,
    place: IdTable<usize>,
}

impl Default for PortList {
    fn default() -> Self {
        Self { list: Vec::with_capacity(CAPACITY as usize), place: IdTable::new(MAX_PORTS) }
    }
}

impl PortList {
    fn add(&mut self, port: BridgePortId) {
        if self.place.get(port.0).is_none() {
            self.place.insert(port.0, self.list.len());
            self.list.push(port);
        }
    }

    fn remove(&mut self, port: BridgePortId) {
        let Some(place) = self.place.remove(port.0) else { return };
        self.list.swap_remove(place);
        if let Some(moved) = self.list.get(place) {
            self.place.insert(moved.0, place);
        }
    }
}

#[cfg(test)]
#[path = "switch_tests.rs"]
mod tests;
