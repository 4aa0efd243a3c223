// SPDX-License-Identifier: GPL-3.0-or-later
//! Adds a guest's interface to its bridge, through rtnetlink(7).
//!
//! One message replaces Xen's script `vif-bridge`: it sets the interface's MTU and bridge and
//! brings it up. ARP and multicast are switched off, because the interface is a port of the bridge
//! and has no address. With `vifname=` it also renames the interface, after another message that
//! brings it down: Linux before 6.3 renames no interface that is up (`dev_change_name`).

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use xen::units::DomId;

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

/// Where Linux lists the interfaces of netback, each in the folder of its device.
const DEVICES: &str = "/sys/bus/xen-backend/devices";

/// A guest's interface, and what it becomes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interface<'a> {
    /// The guest.
    pub(super) domid: DomId,
    /// The vif's number.
    pub(super) number: u32,
    /// Its name, if the config has one.
    pub(super) name: Option<&'a str>,
    /// Its bridge.
    pub(super) bridge: &'a str,
    /// Largest IP packet in bytes.
    pub(super) mtu: u16,
}

impl Interface<'_> {
    /// Adds the interface to its bridge and brings it up, with its name. Returns `false` if the
    /// interface does not exist.
    pub(super) fn attach(self) -> Result<bool, DevicesError> {
        let Self { name, bridge, mtu, .. } = self;
        let netback_name = format!("vif{}.{}", self.domid.0, self.number);
        let failed = |errno| KernelError::Interface {
            interface: netback_name.clone(),
            bridge: bridge.to_owned(),
            errno,
        };
        let master = if_nametoindex(bridge)
            .map_err(|_| DevicesError::NoBridge { bridge: bridge.to_owned() })?;
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )
        .map_err(failed)?;
        let result = match name {
            None => ask(&socket, &message(0, &netback_name, master, mtu)),
            Some(name) => {
                let Some(current) = self.current_name() else { return Ok(false) };
                let index = if_nametoindex(current.as_str()).map_err(failed)?;
                let renamed = || ask(&socket, &message(index, name, master, mtu));
                if current == name {
                    renamed()
                } else {
                    ask(&socket, &down(index)).and_then(|()| renamed())
                }
            }
        };
        match (result, name) {
            (Ok(()), _) => Ok(true),
            (Err(Errno::ENODEV), _) => Ok(false),
            (Err(Errno::EEXIST), Some(name)) => {
                Err(KernelError::NameTaken { interface: netback_name, name: name.to_owned() }
                    .into())
            }
            (Err(errno), _) => Err(failed(errno).into()),
        }
    }

    /// Returns the interface's present name, or `None` if it does not exist.
    fn current_name(self) -> Option<String> {
        let folder = format!("{DEVICES}/vif-{}-{}/net", self.domid.0, self.number);
        let entry = fs::read_dir(folder).ok()?.next()?.ok()?;
        entry.file_name().into_string().ok()
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

/// Returns the message that configures the interface with an index, and renames it. With index 0
/// the kernel finds the interface by its name.
fn message(index: u32, name: &str, master: u32, mtu: u16) -> Vec<u8> {
    let mut bytes = header(index, IFF_UP | IFF_NOARP, IFF_UP | IFF_NOARP | IFF_MULTICAST);
    attribute(&mut bytes, IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat());
    attribute(&mut bytes, IFLA_MTU, &u32::from(mtu).to_ne_bytes());
    attribute(&mut bytes, IFLA_MASTER, &master.to_ne_bytes());
    finished(bytes)
}

/// Returns the message that brings the interface with an index down.
fn down(index: u32) -> Vec<u8> {
    finished(header(index, 0, IFF_UP))
}

/// Returns a `struct nlmsghdr` without its length, and a `struct ifinfomsg`.
fn header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    // The family and the type.
    bytes.extend([0; 4]);
    for field in [index, flags, change] {
        bytes.extend(field.to_ne_bytes());
    }
    bytes
}

/// Returns a message with its length.
fn finished(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("names of interfaces are short");
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
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
        let bytes = message(9, "vif7.0", 5, 1400);
        assert_eq!(bytes.len(), 16 + 16 + 12 + 8 + 8);
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()), 60);
        assert_eq!(&bytes[16..32], [0, 0, 0, 0, 9, 0, 0, 0, 0x81, 0, 0, 0, 0x81, 0x10, 0, 0]);
        assert_eq!(&bytes[32..44], b"\x0b\0\x03\0vif7.0\0\0");
        assert_eq!(&bytes[44..52], [8, 0, 4, 0, 0x78, 5, 0, 0]);
        assert_eq!(&bytes[52..60], [8, 0, 10, 0, 5, 0, 0, 0]);
        let bytes = down(9);
        assert_eq!(&bytes[..16], [32, 0, 0, 0, 16, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[16..], [0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
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
        let interface =
            Interface { domid: DomId(7), number: 0, name: None, bridge: "nowhere0", mtu: 1500 };
        let error = interface.attach().unwrap_err();
        assert!(error.to_string().contains("nowhere0"), "{error}");
    }

    #[test]
    fn an_interface_that_does_not_exist_is_not_attached() {
        // Any interface does for a bridge: the kernel looks for the port first.
        for name in [None, Some("lan")] {
            let interface =
                Interface { domid: DomId(32_000), number: 9, name, bridge: "lo", mtu: 1500 };
            assert!(!interface.attach().unwrap(), "{name:?}");
        }
    }
}
