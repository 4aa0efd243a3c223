// SPDX-License-Identifier: GPL-3.0-or-later
//! Checks which frames a guest may send, and which frames may come in through a tap.
//!
//! The switch knows addresses of guests, from requests, and of dom0, from the kernel. It learns
//! none from frames. [`GuestRules`] let a guest use its own addresses and none that the switch
//! knows to be another's; [`TapRules`] keep those on the other side of a tap from taking guests'
//! addresses. Both read headers to a bounded depth, and drop what they cannot read.

mod ipv4;
mod ipv6;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr};

use noxs::{MacAddr, eui64};
use noxs_control::is_unicast_ipv6;

use self::ipv6::{Content, Neighbour};
use super::frame::{Arp, FrameFacts, HEADER, Payload};
use super::switch::{BridgePortId, PortAddresses, Switch};

// Numbers of protocols that both families have (IANA "Protocol Numbers").
const UDP: u8 = 17;
/// Protocol-independent multicast (RFC 7761).
const PIM: u8 = 103;
/// The virtual router redundancy protocol (RFC 9568).
const VRRP: u8 = 112;

/// What one guest may send.
#[derive(Debug)]
pub struct GuestRules {
    /// Its addresses.
    pub addresses: PortAddresses,
    link_local: Ipv6Addr,
    /// The last IPv4 address that the guest was found to be allowed to use, and the state of the
    /// switch then: most frames of a guest have the same source.
    allowed: Option<(u64, Ipv4Addr)>,
}

impl GuestRules {
    /// Creates the rules for a guest with these addresses.
    #[must_use]
    pub fn new(addresses: PortAddresses) -> Self {
        Self { addresses, link_local: eui64::link_local(addresses.mac), allowed: None }
    }

    /// Returns whether the guest, which is at the port `own` of the switch, may send a frame.
    ///
    /// - The source MAC address must be the guest's, in the Ethernet header, in ARP, and in
    ///   neighbour discovery.
    /// - Frames to the addresses of bridge protocols (IEEE 802.1D, 01:80:c2:00:00:0x), frames with
    ///   a VLAN tag, and packets that are malformed are never allowed. Neither are messages that
    ///   only routers and DHCP servers send: UDP from port 67 (IPv4) and 547 (IPv6), and router
    ///   advertisements and redirects of ICMP and ICMPv6.
    /// - A guest with a fixed address must use its IPv4 address as the source of IPv4 and ARP packets
    ///   (an ARP probe comes from 0.0.0.0 and is about this address), and in IPv6 its IPv6 address or
    ///   the link-local one that is derived from its MAC address. Without a fixed address of IPv4, it
    ///   sends neither IPv4 nor ARP. It may send nothing else, because a tag around a packet would
    ///   hide its source, and no IPv6 inside IPv4, which would hide it, too.
    /// - A guest without one may use each address that the switch does not know to be another's.
    #[inline]
    pub fn may_send(
        &mut self,
        facts: &FrameFacts,
        frame: &[u8],
        own: BridgePortId,
        switch: &Switch,
    ) -> bool {
        if facts.source != self.addresses.mac || is_for_bridges(facts.destination) {
            return false;
        }
        match facts.payload {
            // Most frames end here: TCP from the same source as before.
            Payload::Ipv4 { source, protocol }
                if ipv4::is_harmless(protocol)
                    && self.allowed == Some((switch.changes(), source)) =>
            {
                true
            }
            payload => self.may_send_packet(payload, &frame[HEADER..], own, switch),
        }
    }

    fn may_send_packet(
        &mut self,
        payload: Payload,
        packet: &[u8],
        own: BridgePortId,
        switch: &Switch,
    ) -> bool {
        match payload {
            Payload::Ipv4 { source, protocol } => {
                self.may_use_ipv4(source, own, switch)
                    && ipv4::may_be_from_guest(protocol, packet, self.addresses.are_fixed())
            }
            Payload::Arp(arp) => {
                arp.sender_mac == self.addresses.mac && self.may_claim(&arp, own, switch)
            }
            Payload::Ipv6(_) => self.may_send_ipv6(packet, own, switch),
            Payload::Other => !self.addresses.are_fixed(),
            Payload::Malformed | Payload::Tagged => false,
        }
    }

    fn may_use_ipv4(&mut self, address: Ipv4Addr, own: BridgePortId, switch: &Switch) -> bool {
        let question = Some((switch.changes(), address));
        if self.allowed == question {
            return true;
        }
        let may = match self.addresses.are_fixed() {
            true => self.addresses.ipv4 == Some(address),
            false => !switch.is_anothers_ipv4(address, own),
        };
        if may {
            self.allowed = question;
        }
        may
    }

    /// Returns whether an ARP packet claims only addresses of the guest.
    fn may_claim(&mut self, arp: &Arp, own: BridgePortId, switch: &Switch) -> bool {
        if arp.sender.is_unspecified() {
            // A probe: it stops another host from using the address (RFC 5227).
            return arp.request && self.may_use_ipv4(arp.target, own, switch);
        }
        self.may_use_ipv4(arp.sender, own, switch)
    }

    fn may_send_ipv6(&self, packet: &[u8], own: BridgePortId, switch: &Switch) -> bool {
        let Some(packet) = ipv6::read(packet) else { return false };
        let may_use = |address| self.may_use_ipv6(address, own, switch);
        let is_unspecified = packet.source.is_unspecified();
        match packet.content {
            Content::RouterMessage | Content::DhcpServer | Content::LaterFragment => false,
            Content::Neighbour(Neighbour { advertised, solicited, link_layer }) => {
                // Without a source, a solicitation is about an address that the sender is about to
                // use (RFC 4862), or it asks for routers.
                let claimed = if is_unspecified { solicited } else { Some(packet.source) };
                let has_source = !is_unspecified || advertised.is_none();
                has_source
                    && link_layer.is_none_or(|mac| mac == self.addresses.mac)
                    && claimed.is_none_or(may_use)
                    && advertised.is_none_or(may_use)
            }
            // A host reports groups before it has an address (RFC 3590).
            Content::GroupReport => is_unspecified || may_use(packet.source),
            Content::Other => may_use(packet.source),
        }
    }

    fn may_use_ipv6(&self, address: Ipv6Addr, own: BridgePortId, switch: &Switch) -> bool {
        if self.addresses.are_fixed() {
            return address == self.link_local || self.addresses.ipv6 == Some(address);
        }
        is_unicast_ipv6(address) && !switch.is_anothers_ipv6(address, own)
    }
}

/// Returns whether frames to the address are for bridges and go no further (IEEE 802.1D).
fn is_for_bridges(destination: MacAddr) -> bool {
    matches!(destination.0, [0x01, 0x80, 0xc2, 0, 0, ..0x10])
}

/// Which frames may come in through a tap.
#[derive(Debug, Default)]
pub struct TapRules {
    /// The last source that was found not to be a guest's, and the state of the switch then.
    outside: Option<(u64, MacAddr)>,
}

impl TapRules {
    /// Returns whether a frame may come in. It may not come from a guest's MAC address, nor claim
    /// an address of a guest in ARP or in neighbour discovery: guests are on this side of the tap.
    /// What could hide such a claim does not come in either: ARP that is malformed or for another
    /// kind of hardware, which Linux takes on Ethernet, too, and frames with a VLAN tag, which Linux
    /// removes if its number is 0.
    ///
    /// An IP packet from a guest's address may come in, because a router, dom0 or another, sends
    /// what one guest sends to another back to the bridge, from its own MAC address. Routers do not
    /// forward packets from link-local addresses, so that none of a guest's comes in.
    #[inline]
    pub fn may_enter(&mut self, facts: &FrameFacts, frame: &[u8], switch: &Switch) -> bool {
        if self.outside != Some((switch.changes(), facts.source)) && !self.is_outside(facts, switch)
        {
            return false;
        }
        match facts.payload {
            Payload::Arp(_) | Payload::Ipv6(_) => claims_no_guest(facts, frame, switch),
            Payload::Ipv4 { source, .. } if source.is_link_local() => {
                switch.owner_of_ipv4(source).is_none()
            }
            Payload::Malformed | Payload::Tagged => false,
            _ => true,
        }
    }

    #[inline(never)]
    fn is_outside(&mut self, facts: &FrameFacts, switch: &Switch) -> bool {
        let is_outside = switch.owner_of_mac(facts.source).is_none();
        if is_outside {
            self.outside = Some((switch.changes(), facts.source));
        }
        is_outside
    }
}

/// Returns whether a frame from outside claims no address of a guest.
fn claims_no_guest(facts: &FrameFacts, frame: &[u8], switch: &Switch) -> bool {
    match facts.payload {
        Payload::Arp(arp) => {
            switch.owner_of_mac(arp.sender_mac).is_none()
                && switch.owner_of_ipv4(arp.sender).is_none()
        }
        Payload::Ipv6(_) => may_enter_ipv6(&frame[HEADER..], switch),
        _ => true,
    }
}

fn may_enter_ipv6(packet: &[u8], switch: &Switch) -> bool {
    let Some(packet) = ipv6::read(packet) else { return false };
    let is_guests = |address| switch.owner_of_ipv6(address).is_some();
    let Content::Neighbour(neighbour) = packet.content else {
        return !(packet.source.is_unicast_link_local() && is_guests(packet.source));
    };
    !is_guests(packet.source)
        && !neighbour.advertised.is_some_and(is_guests)
        && neighbour.link_layer.is_none_or(|mac| switch.owner_of_mac(mac).is_none())
}
