// SPDX-License-Identifier: GPL-3.0-or-later
//! What an IPv4 packet carries, as far as rules need it.

use super::super::frame::array;
use super::{PIM, UDP, VRRP};

// Numbers of protocols (IANA "Protocol Numbers").
const ICMP: u8 = 1;
const IGMP: u8 = 2;
/// IPv6 in IPv4 (RFC 4213).
const IPV6: u8 = 41;

/// The UDP port that DHCP servers send from (RFC 2131).
const DHCP_SERVER: u16 = 67;
/// The UDP port that DHCP servers send to. Many clients do not check which port a reply is from.
const DHCP_CLIENT: u16 = 68;

/// The type of a redirect (RFC 792).
const REDIRECT: u8 = 5;
/// The type of a router advertisement (RFC 1256).
const ROUTER_ADVERTISEMENT: u8 = 9;

/// The type of a query for multicast groups (RFC 3376).
const GROUP_QUERY: u8 = 0x11;
/// The types of the discovery of multicast routers (RFC 4286).
const MULTICAST_ROUTERS: std::ops::RangeInclusive<u8> = 0x30..=0x32;

/// Returns whether all packets with this protocol may come from each guest, so that
/// [`may_be_from_guest`] need not look at them.
pub(super) fn is_harmless(protocol: u8) -> bool {
    !matches!(protocol, ICMP | IGMP | UDP | IPV6 | PIM | VRRP)
}

/// Returns whether a packet with this protocol may come from a guest: neither a DHCP server nor a
/// router sent it, and it is not malformed. `has_fixed` says that the guest has a fixed address; an
/// IPv6 packet inside would have another source.
///
/// A fragment that does not begin with the header of ICMP or UDP may pass, because it has no effect
/// without the one that does. But some DHCP clients read packets below IP and do not look whether
/// they are fragments (`udhcpc` of busybox): a fragment that looks like a whole datagram to one does not
/// pass. Other data look like that once in 2^32 times.
pub(super) fn may_be_from_guest(protocol: u8, packet: &[u8], has_fixed: bool) -> bool {
    match protocol {
        IPV6 => return !has_fixed,
        PIM | VRRP => return false,
        protocol if is_harmless(protocol) => return true,
        _ => {}
    }
    let Some([a, b, _, _, c, d]) = array(packet, 2) else { return false };
    let (total, fragment) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    // Receivers cut off what is behind the packet's length.
    let Some(packet) = packet.get(..total.into()) else { return false };
    let header = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    if header < 20 {
        return false;
    }
    if protocol == IGMP {
        // A bridge does not look whether it is a fragment.
        let kind = packet.get(header);
        return kind.is_some_and(|kind| *kind != GROUP_QUERY && !MULTICAST_ROUTERS.contains(kind));
    }
    if fragment & 0x1fff != 0 {
        return protocol != UDP || !is_whole_dhcp(packet, header);
    }
    if protocol == ICMP {
        let kind = packet.get(header);
        return kind.is_some_and(|kind| !matches!(*kind, REDIRECT | ROUTER_ADVERTISEMENT));
    }
    let Some([a, b, c, d]) = array(packet, header) else { return false };
    !is_dhcp(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

/// Returns whether a datagram between these ports is one of a DHCP server.
fn is_dhcp(source: u16, destination: u16) -> bool {
    source == DHCP_SERVER || destination == DHCP_CLIENT
}

/// Returns whether the data of a packet, behind a header of `header` bytes, are a whole datagram of UDP
/// of a DHCP server: their length is the one in the header of UDP.
fn is_whole_dhcp(packet: &[u8], header: usize) -> bool {
    let Some([a, b, c, d, length @ ..]) = array::<6>(packet, header) else { return false };
    let of_packet = array(packet, 2).map_or(0, |total| usize::from(u16::from_be_bytes(total)));
    is_dhcp(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        && of_packet.checked_sub(header) == Some(u16::from_be_bytes(length).into())
}
