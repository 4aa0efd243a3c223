// SPDX-License-Identifier: GPL-3.0-or-later
//! The kernel's messages about interfaces and addresses, rtnetlink(7).
//!
//! The layouts are those of `linux/netlink.h`, `linux/rtnetlink.h`, `linux/if_link.h` and
//! `linux/if_addr.h`. Reading is total: what is cut short or unknown is left out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use noxs::MacAddr;

use super::super::frame::array;

/// Number of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceIndex(pub u32);

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// An interface exists, with this name and MAC address.
    Interface {
        /// The interface.
        index: InterfaceIndex,
        /// Its name, which may have changed.
        name: String,
        /// Its MAC address, if it is an Ethernet interface.
        mac: Option<MacAddr>,
    },
    /// An interface was removed.
    InterfaceRemoved(InterfaceIndex),
    /// An interface has an address.
    Address(InterfaceIndex, IpAddr),
    /// An interface no longer has an address.
    AddressRemoved(InterfaceIndex, IpAddr),
    /// A list is complete.
    Done,
    /// The kernel refused a request; the error number.
    Refused(i32),
    /// Something changed while the kernel listed it, so that the list may lack something.
    Interrupted,
}

/// A list that the kernel sends on request.
#[derive(Clone, Copy, Debug)]
pub enum List {
    /// All interfaces.
    Interfaces,
    /// All addresses of all interfaces.
    Addresses,
}

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct ifinfomsg`.
const INTERFACE: usize = 16;
/// Bytes of `struct ifaddrmsg`.
const ADDRESS: usize = 8;
/// Bytes of `struct rtattr`.
const ATTRIBUTE: usize = 4;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;

/// Attributes of interfaces: the MAC address and the name.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;

/// Attributes of addresses: the address, or that of the other end where there is one; and then the
/// own one.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// Returns the request for a list.
#[must_use]
pub fn request(list: List) -> [u8; HEADER + INTERFACE] {
    let kind = match list {
        List::Interfaces => libc::RTM_GETLINK,
        List::Addresses => libc::RTM_GETADDR,
    };
    let mut bytes = [0; HEADER + INTERFACE];
    // 32 bytes; the body is zero: any family, no filter. The kernel takes a longer body than
    // `struct ifaddrmsg`.
    bytes[..4].copy_from_slice(&32_u32.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes
}

/// Returns what the messages of a datagram say.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Message> {
    let mut rest = datagram;
    let blocks = std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(array(rest, 0)?)).ok()?;
        let body = rest.get(HEADER..length)?;
        let [kind, flags] = [4, 6].map(|at| array(rest, at).map(u16::from_ne_bytes));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind?, flags?, body))
    });
    blocks.flat_map(|(kind, flags, body)| {
        let interrupted = (flags & NLM_F_DUMP_INTR != 0).then_some(Message::Interrupted);
        interrupted.into_iter().chain(message(kind, body))
    })
}

fn message(kind: u16, body: &[u8]) -> Option<Message> {
    match kind {
        NLMSG_DONE => Some(Message::Done),
        NLMSG_ERROR => Some(Message::Refused(i32::from_ne_bytes(array(body, 0)?).wrapping_neg())),
        libc::RTM_NEWLINK | libc::RTM_DELLINK => {
            let index = InterfaceIndex(u32::from_ne_bytes(array(body, 4)?));
            // Others are about an interface as part of something else: with AF_BRIDGE, a port was
            // removed from its bridge, and still exists.
            if body.first().is_none_or(|family| i32::from(*family) != libc::AF_UNSPEC) {
                return None;
            }
            if kind == libc::RTM_DELLINK {
                return Some(Message::InterfaceRemoved(index));
            }
            let name = attribute(body.get(INTERFACE..)?, IFLA_IFNAME)?;
            let name = name.split(|byte| *byte == 0).next()?;
            let mac = attribute(body.get(INTERFACE..)?, IFLA_ADDRESS);
            let mac = mac.and_then(|mac| mac.try_into().ok()).map(MacAddr);
            let name = String::from_utf8_lossy(name).into_owned();
            Some(Message::Interface { index, name, mac })
        }
        libc::RTM_NEWADDR | libc::RTM_DELADDR => {
            let index = InterfaceIndex(u32::from_ne_bytes(array(body, 4)?));
            let attributes = body.get(ADDRESS..)?;
            let own = attribute(attributes, IFA_LOCAL);
            let address = address(own.or_else(|| attribute(attributes, IFA_ADDRESS))?)?;
            Some(match kind {
                libc::RTM_NEWADDR => Message::Address(index, address),
                _ => Message::AddressRemoved(index, address),
            })
        }
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let ipv4 = || <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    let ipv6 = || <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into());
    ipv4().or_else(|_| ipv6()).ok()
}

/// Returns the value of the first attribute of a kind.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(array(attributes, 0)?));
        let kind = u16::from_ne_bytes(array(attributes, 2)?);
        let value = attributes.get(ATTRIBUTE..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
pub(crate) mod build {
    //! Messages for tests.

    use super::*;

    fn attributes(list: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, value) in list {
            bytes.extend(u16::try_from(ATTRIBUTE + value.len()).unwrap().to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    pub(crate) fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes();
        let header = [&length[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
        let mut bytes = [&header, body].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    pub(crate) fn interface(kind: u16, family: u8, index: u32, name: &str) -> Vec<u8> {
        let header = [&[family, 0, 1, 0][..], &index.to_ne_bytes(), &[0; 8]].concat();
        let name = [name.as_bytes(), &[0]].concat();
        let list = attributes(&[(13, &[1; 5]), (IFLA_IFNAME, &name), (IFLA_ADDRESS, &[2; 6])]);
        message(kind, 0, &[header, list].concat())
    }

    pub(crate) fn address(kind: u16, index: u32, list: &[(u16, &[u8])]) -> Vec<u8> {
        let header = [&[2, 24, 0, 0][..], &index.to_ne_bytes()].concat();
        message(kind, 0, &[header, attributes(list)].concat())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BRIDGE: InterfaceIndex = InterfaceIndex(7);

    fn read(datagram: &[u8]) -> Vec<Message> {
        messages(datagram).collect()
    }

    #[test]
    fn all_messages_of_a_datagram_are_read() {
        let own = [10, 0, 0, 1];
        let datagram = [
            build::interface(libc::RTM_NEWLINK, 0, 7, "xenbr0"),
            build::message(99, 0, &[1, 2, 3]),
            build::address(libc::RTM_NEWADDR, 7, &[(IFA_ADDRESS, &own)]),
            build::address(libc::RTM_DELADDR, 7, &[(IFA_ADDRESS, &[1; 16])]),
            build::interface(libc::RTM_DELLINK, 0, 7, "xenbr0"),
            build::message(NLMSG_DONE, NLM_F_DUMP_INTR, &[0; 4]),
        ]
        .concat();
        let name = "xenbr0".to_owned();
        assert_eq!(
            read(&datagram),
            [
                Message::Interface { index: BRIDGE, name, mac: Some(MacAddr([2; 6])) },
                Message::Address(BRIDGE, own.into()),
                Message::AddressRemoved(BRIDGE, [1; 16].into()),
                Message::InterfaceRemoved(BRIDGE),
                Message::Interrupted,
                Message::Done,
            ]
        );
        let error = build::message(NLMSG_ERROR, 0, &(-19_i32).to_ne_bytes());
        assert_eq!(read(&error), [Message::Refused(19)]);
    }

    #[test]
    fn the_own_end_of_a_link_with_two_ends_is_read() {
        let (own, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let list: [(u16, &[u8]); 2] = [(IFA_ADDRESS, &other), (IFA_LOCAL, &own)];
        let message = build::address(libc::RTM_NEWADDR, 7, &list);
        assert_eq!(read(&message), [Message::Address(BRIDGE, own.into())]);
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_not_removed() {
        let family = u8::try_from(libc::AF_BRIDGE).unwrap();
        assert_eq!(read(&build::interface(libc::RTM_DELLINK, family, 7, "noxs0")), []);
    }

    #[test]
    fn what_is_cut_short_is_left_out() {
        let whole = build::interface(libc::RTM_NEWLINK, 0, 7, "xenbr0");
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), [], "{length} bytes");
        }
        assert_eq!(read(&build::address(libc::RTM_NEWADDR, 7, &[(IFA_ADDRESS, &[1; 5])])), []);
        assert_eq!(read(&[0; 64]), []);
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(
            kind in prop::sample::select(vec![2_u16, 3, 16, 17, 20, 21]),
            body in prop::collection::vec(any::<u8>(), 0..100),
            bytes in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            read(&bytes);
            read(&build::message(kind, 0, &body));
            // A plausible header before attributes of any kind.
            let plain = [&[0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &body].concat();
            read(&build::message(kind, 0, &plain));
        }
    }
}
