// SPDX-License-Identifier: GPL-3.0-or-later
//! What an IPv6 packet carries, as far as rules need it.
//!
//! A packet is read only as far as its sender cannot hide anything behind extension headers: at
//! most [`MAX_EXTENSIONS`] are walked, and what follows must be in the same packet. Bytes of the frame
//! behind the packet's length do not count: receivers cut them off.

use std::net::Ipv6Addr;

use noxs::MacAddr;

use super::super::frame::{ICMPV6, IPV6_HEADER as HEADER, array};
use super::{PIM, UDP, VRRP};

/// Most extension headers of a packet. RFC 8200 has each kind once, except destination options,
/// which may be there twice.
const MAX_EXTENSIONS: usize = 8;

/// Most options of a message of neighbour discovery. Hosts send one or two.
const MAX_OPTIONS: usize = 16;

// Numbers of headers (IANA "Protocol Numbers").
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// The UDP port that DHCPv6 servers send from (RFC 8415).
const DHCP_SERVER: u16 = 547;
/// The UDP port that DHCPv6 servers send to. Many clients do not check which port a reply is from.
const DHCP_CLIENT: u16 = 546;

/// What the rules need of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) source: Ipv6Addr,
    pub(super) content: Content,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A router advertisement, a redirect, a router renumbering, a query for multicast groups, or a
    /// message of PIM or VRRP.
    RouterMessage,
    /// A solicitation or advertisement of a neighbour, or a solicitation of routers.
    Neighbour(Neighbour),
    /// A report of multicast groups.
    GroupReport,
    /// A message of a DHCPv6 server.
    DhcpServer,
    /// A fragment of ICMPv6 or UDP, or of an extension header, without the header itself.
    LaterFragment,
    /// Anything else.
    Other,
}

/// A message of neighbour discovery (RFC 4861).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    /// The address that an advertisement is about.
    pub(super) advertised: Option<Ipv6Addr>,
    /// The address that a solicitation of neighbours asks for.
    pub(super) solicited: Option<Ipv6Addr>,
    /// The MAC address that the sender claims to have.
    pub(super) link_layer: Option<MacAddr>,
}

/// Reads a packet. Returns `None` if it is malformed, or if its content cannot be seen: it has too
/// many extension headers, the frame or the packet's length cuts it short, or it is a fragment of
/// neighbour discovery, which hosts must ignore (RFC 6980).
pub(super) fn read(packet: &[u8]) -> Option<Packet> {
    let header: [u8; HEADER] = array(packet, 0)?;
    (header[0] >> 4 == 6).then_some(())?;
    let source = Ipv6Addr::from(array::<16>(&header, 8)?);
    let end = HEADER + usize::from(u16::from_be_bytes(array(&header, 4)?));
    let content = content(packet.get(..end)?, header[6])?;
    Some(Packet { source, content })
}

fn content(packet: &[u8], first: u8) -> Option<Content> {
    let (mut next, mut at, mut is_fragment) = (first, HEADER, false);
    for _ in 0..=MAX_EXTENSIONS {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HOST_IDENTITY | SHIM6 => {
                let [following, length] = array(packet, at)?;
                (next, at) = (following, at + (usize::from(length) + 1) * 8);
            }
            AUTHENTICATION => {
                let [following, length] = array(packet, at)?;
                (next, at) = (following, at + (usize::from(length) + 2) * 4);
            }
            FRAGMENT => {
                let [following, _, high, low, ..]: [u8; 8] = array(packet, at)?;
                if u16::from_be_bytes([high, low]) >> 3 != 0 {
                    return Some(later_fragment(following));
                }
                (next, at, is_fragment) = (following, at + 8, true);
            }
            ICMPV6 => return icmp(packet.get(at..)?, is_fragment),
            UDP => {
                let [a, b, c, d] = array(packet, at)?;
                let (source, destination) =
                    (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                let is_server = source == DHCP_SERVER || destination == DHCP_CLIENT;
                return Some(if is_server { Content::DhcpServer } else { Content::Other });
            }
            PIM | VRRP => return Some(Content::RouterMessage),
            _ => return (at <= packet.len()).then_some(Content::Other),
        }
    }
    None
}

/// Returns the content of a fragment that is not the first, whose own data begin with a header of
/// the kind `following` in the first fragment.
fn later_fragment(following: u8) -> Content {
    match following {
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS | AUTHENTICATION | MOBILITY
        | HOST_IDENTITY | SHIM6 | ICMPV6 | UDP => Content::LaterFragment,
        _ => Content::Other,
    }
}

fn icmp(message: &[u8], is_fragment: bool) -> Option<Content> {
    let kind = *message.first()?;
    if is_fragment && (133..=137).contains(&kind) {
        return None;
    }
    let target = || array::<16>(message, 8).map(Ipv6Addr::from);
    let (advertised, solicited, options) = match kind {
        131 | 132 | 143 => return Some(Content::GroupReport),
        133 => (None, None, 8),
        // 151 to 153 are of the discovery of multicast routers (RFC 4286).
        130 | 134 | 137 | 138 | 151..=153 => return Some(Content::RouterMessage),
        135 => (None, Some(target()?), 24),
        136 => (Some(target()?), None, 24),
        _ => return Some(Content::Other),
    };
    let link_layer = link_layer(message.get(options..)?)?;
    Some(Content::Neighbour(Neighbour { advertised, solicited, link_layer }))
}

/// Reads the options of a message of neighbour discovery. Returns the MAC address in them, and
/// `None` if they are malformed or contain different MAC addresses.
#[allow(clippy::option_option, reason = "malformed options differ from missing ones")]
fn link_layer(mut options: &[u8]) -> Option<Option<MacAddr>> {
    const SOURCE: u8 = 1;
    const TARGET: u8 = 2;

    let mut found = None;
    for _ in 0..MAX_OPTIONS {
        if options.is_empty() {
            break;
        }
        let [kind, length] = array(options, 0)?;
        // Hosts ignore a message with an option of length 0.
        let size = (length != 0).then_some(usize::from(length) * 8)?;
        let (option, rest) = options.split_at_checked(size)?;
        if kind == SOURCE || kind == TARGET {
            let mac = MacAddr(array(option, 2)?);
            // A longer option is not for Ethernet.
            if length != 1 || found.is_some_and(|other| other != mac) {
                return None;
            }
            found = Some(mac);
        }
        options = rest;
    }
    options.is_empty().then_some(found)
}
