//! Which ports of a switch a frame goes to.
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

use crate::net::frame::{Arp, Facts, Payload};
use crate::turns::id_table::IdTable;

/// Names a guest's interface. The number is the caller's, and small: it indexes a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortId(pub u32);

/// Where a frame comes from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A guest.
    Port(PortId),
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
    /// Nobody wants it.
    Nowhere,
}

impl Route {
    /// Whether there is a copy for each of many.
    #[must_use]
    pub fn floods(self) -> bool {
        matches!(self, Self::All | Self::Unaddressed | Self::Ipv6)
    }
}

/// Interfaces that the tables are made for; with more, they have to be moved once in a while.
const CAPACITY: u32 = 16 * 1024;

/// Ports whose places are kept in a table without moving it; see [`PortId`].
const MAX_PORTS: usize = 1 << 17;

/// The tables of one switch.
#[derive(Debug)]
pub struct Switch {
    by_mac: HashMap<MacAddr, PortId>,
    by_ipv4: HashMap<Ipv4Addr, PortId>,
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

/// An empty table whose memory has been used before, so that no guest pays for the first use.
fn touched<K: Eq + Hash>(key: impl Fn([u8; 4]) -> K) -> HashMap<K, PortId> {
    let mut table = HashMap::with_capacity(CAPACITY as usize);
    table.extend((0..CAPACITY).map(|number| (key(number.to_be_bytes()), PortId(0))));
    table.clear();
    table
}

impl Switch {
    /// Adds a guest's interface. If another has the same IPv4 address already, that one keeps
    /// getting the ARP requests for it.
    ///
    /// # Errors
    /// The MAC address is taken; nothing is added.
    pub fn add(
        &mut self,
        port: PortId,
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

    /// Whether an interface has the address.
    #[must_use]
    pub fn has(&self, mac: MacAddr) -> bool {
        self.by_mac.contains_key(&mac)
    }

    /// Takes an interface away. The addresses are those it was added with.
    pub fn remove(&mut self, port: PortId, mac: MacAddr, ipv4: Option<Ipv4Addr>) {
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

    /// Takes note of what a port of this switch has sent, and was allowed to.
    pub fn note(&mut self, port: PortId, facts: &Facts) {
        if facts.payload == Payload::Ipv6 {
            self.ipv6.add(port);
        }
    }

    /// Where a frame goes that comes from `from`.
    #[must_use]
    pub fn route(&self, facts: &Facts, from: End) -> Route {
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

    /// The ports that a route means that [floods](Route::floods); none for other routes.
    #[must_use]
    pub fn targets(&self, route: Route) -> &[PortId] {
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
    list: Vec<PortId>,
    place: IdTable<usize>,
}

impl Default for PortList {
    fn default() -> Self {
        Self { list: Vec::with_capacity(CAPACITY as usize), place: IdTable::new(MAX_PORTS) }
    }
}

impl PortList {
    fn add(&mut self, port: PortId) {
        if self.place.get(port.0).is_none() {
            self.place.insert(port.0, self.list.len());
            self.list.push(port);
        }
    }

    fn remove(&mut self, port: PortId) {
        let Some(place) = self.place.remove(port.0) else { return };
        self.list.swap_remove(place);
        if let Some(moved) = self.list.get(place) {
            self.place.insert(moved.0, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::frame::build;

    fn mac(last: u8) -> MacAddr {
        MacAddr([0, 0x16, 0x3e, 0, 0, last])
    }

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn port(number: u32) -> End {
        End::Port(PortId(number))
    }

    /// Ports 1 and 2 have an address, port 3 has none.
    fn switch() -> Switch {
        let mut switch = Switch::default();
        switch.add(PortId(1), mac(1), Some(ip(1))).unwrap();
        switch.add(PortId(2), mac(2), Some(ip(2))).unwrap();
        switch.add(PortId(3), mac(3), None).unwrap();
        switch
    }

    fn route(switch: &Switch, frame: &[u8], from: End) -> Route {
        switch.route(&Facts::of(frame).unwrap(), from)
    }

    #[test]
    fn a_guests_address_leads_to_the_guest_and_any_other_to_the_tap() {
        let switch = switch();
        let to = |to, from, end| route(&switch, &build::ipv4(mac(to), mac(from), ip(from)), end);
        assert_eq!(to(2, 1, port(1)), Route::One(port(2)));
        assert_eq!(to(9, 1, port(1)), Route::One(End::Tap));
        assert_eq!(to(1, 9, End::Tap), Route::One(port(1)));
        assert_eq!(to(1, 1, port(1)), Route::Nowhere);
        assert_eq!(to(8, 9, End::Tap), Route::Nowhere, "unknown, from the tap");
    }

    #[test]
    fn an_arp_request_goes_to_the_owner_of_the_address() {
        let switch = switch();
        let ask = |from, sender, target, end| {
            route(&switch, &build::arp(mac(from), 1, ip(sender), ip(target)), end)
        };
        assert_eq!(ask(1, 1, 2, port(1)), Route::One(port(2)));
        assert_eq!(ask(9, 9, 1, End::Tap), Route::One(port(1)));
        assert_eq!(ask(1, 1, 7, port(1)), Route::Unaddressed);
        assert_eq!(ask(1, 1, 1, port(1)), Route::Unaddressed, "a guest's announcement");
        assert_eq!(ask(1, 0, 1, port(1)), Route::Unaddressed, "a guest's probe");
        assert_eq!(ask(9, 9, 9, End::Tap), Route::All, "an announcement from outside");
        assert_eq!(switch.targets(Route::Unaddressed), [PortId(3)]);
    }

    #[test]
    fn other_broadcasts_go_to_all() {
        let switch = switch();
        let frame = build::ipv4(MacAddr([0xff; 6]), mac(1), ip(1));
        assert_eq!(route(&switch, &frame, port(1)), Route::All);
        assert_eq!(switch.targets(Route::All), [PortId(1), PortId(2), PortId(3)]);
    }

    #[test]
    fn multicasts_of_ipv6_go_to_those_who_use_it() {
        let mut switch = switch();
        let all_nodes = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
        let frame = build::ethernet(all_nodes, mac(9), 0x86dd, &[0; 40]);
        assert_eq!(route(&switch, &frame, End::Tap), Route::Ipv6);
        assert_eq!(switch.targets(Route::Ipv6), []);
        switch.note(PortId(1), &Facts::of(&build::ipv4(mac(9), mac(1), ip(1))).unwrap());
        switch.note(PortId(2), &Facts::of(&frame).unwrap());
        assert_eq!(switch.targets(Route::Ipv6), [PortId(2)]);
        switch.remove(PortId(2), mac(2), Some(ip(2)));
        assert_eq!(switch.targets(Route::Ipv6), []);
    }

    #[test]
    fn a_mac_address_is_there_once() {
        let mut switch = switch();
        assert_eq!(switch.add(PortId(4), mac(2), None), Err(MacInUse(mac(2))));
        switch.remove(PortId(4), mac(2), None);
        let frame = build::ipv4(mac(2), mac(1), ip(1));
        assert_eq!(route(&switch, &frame, port(1)), Route::One(port(2)), "still port 2's");
    }

    #[test]
    fn what_is_removed_is_gone_and_the_rest_stays() {
        let mut switch = switch();
        switch.remove(PortId(1), mac(1), Some(ip(1)));
        assert_eq!(switch.targets(Route::All), [PortId(3), PortId(2)]);
        switch.remove(PortId(3), mac(3), None);
        assert_eq!(switch.targets(Route::All), [PortId(2)]);
        assert!(switch.targets(Route::Unaddressed).is_empty());
        let frame = build::ipv4(mac(1), mac(9), ip(9));
        assert_eq!(route(&switch, &frame, End::Tap), Route::Nowhere);
        switch.add(PortId(1), mac(1), Some(ip(1))).unwrap();
        assert_eq!(route(&switch, &frame, End::Tap), Route::One(port(1)));
    }
}
