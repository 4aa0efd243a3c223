// SPDX-License-Identifier: GPL-3.0-or-later
//! Adds a guest's interface to its bridge, through rtnetlink(7).
//!
//! One message replaces Xen's script `vif-bridge`: it sets the interface's MTU and bridge and
//! brings it up. ARP and multicast are switched off, because the interface is a port of the bridge
//! and has no address.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::error::KernelError;
use crate::backends::DevicesError;

/// `linux/rtnetlink.h`, `linux/netlink.h` and `linux/if_link.h`.
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;

/// `linux/if.h`.
const IFF_UP: u32 = 1;
const IFF_NOARP: u32 = 0x80;
const IFF_MULTICAST: u32 = 0x1000;

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Adds an interface to a bridge and brings it up. Returns `false` if the interface does not exist.
pub(super) fn attach(interface: &str, bridge: &str, mtu: u16) -> Result<bool, DevicesError> {
    let failed = |errno| KernelError::Interface {
        interface: interface.to_owned(),
        bridge: bridge.to_owned(),
        errno,
    };
    let master =
        if_nametoindex(bridge).map_err(|_| DevicesError::NoBridge { bridge: bridge.to_owned() })?;
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )
    .map_err(failed)?;
    match ask(&socket, &message(interface, master, mtu)) {
        Ok(()) => Ok(true),
        Err(Errno::ENODEV) => Ok(false),
        Err(errno) => Err(failed(errno).into()),
    }
}

/// Sends a message and receives the kernel's answer, which is queued before the send returns.
fn ask(socket: &OwnedFd, message: &[u8]) -> Result<(), Errno> {
    let fd = socket.as_raw_fd();
    sendto(fd, message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let length = recv(fd, &mut answer, MsgFlags::MSG_DONTWAIT)?;
    outcome(&answer[..length])
}

/// Returns the result in an answer: `struct nlmsgerr` after the header.
fn outcome(answer: &[u8]) -> Result<(), Errno> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok());
    match (kind, error.map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(Errno::from_raw(error.saturating_neg())),
        _ => Err(Errno::EBADMSG),
    }
}

/// Returns the message that configures an interface.
fn message(interface: &str, master: u32, mtu: u16) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    // `struct ifinfomsg`, with index 0: the kernel finds the interface by its name.
    bytes.extend([0; 8]);
    bytes.extend((IFF_UP | IFF_NOARP).to_ne_bytes());
    bytes.extend((IFF_UP | IFF_NOARP | IFF_MULTICAST).to_ne_bytes());
    attribute(&mut bytes, IFLA_IFNAME, &[interface.as_bytes(), b"\0"].concat());
    attribute(&mut bytes, IFLA_MTU, &u32::from(mtu).to_ne_bytes());
    attribute(&mut bytes, IFLA_MASTER, &master.to_ne_bytes());
    let length = u32::try_from(bytes.len()).expect("names of interfaces are short");
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    bytes
}

/// Appends an attribute: length, kind, value, and padding to a multiple of four bytes.
fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("names of interfaces are short");
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_the_layout_of_the_kernel_headers() {
        let bytes = message("vif7.0", 5, 1400);
        assert_eq!(bytes.len(), 16 + 16 + 12 + 8 + 8);
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()), 60);
        assert_eq!(&bytes[32..44], b"\x0b\0\x03\0vif7.0\0\0");
        assert_eq!(&bytes[44..52], [8, 0, 4, 0, 0x78, 5, 0, 0]);
        assert_eq!(&bytes[52..60], [8, 0, 10, 0, 5, 0, 0, 0]);
    }

    #[test]
    fn answers_are_decoded() {
        let answer = |kind: u16, error: i32| {
            let mut bytes = vec![0; HEADER];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes.extend(error.to_ne_bytes());
            bytes
        };
        assert_eq!(outcome(&answer(NLMSG_ERROR, 0)), Ok(()));
        assert_eq!(outcome(&answer(NLMSG_ERROR, -19)), Err(Errno::ENODEV));
        assert_eq!(outcome(&answer(3, 0)), Err(Errno::EBADMSG));
        assert_eq!(outcome(&[]), Err(Errno::EBADMSG));
    }

    #[test]
    fn the_error_names_a_missing_bridge() {
        let error = attach("vif7.0", "nowhere0", 1500).unwrap_err();
        assert!(error.to_string().contains("nowhere0"), "{error}");
    }
}
