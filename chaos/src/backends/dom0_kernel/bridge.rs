// SPDX-License-Identifier: GPL-3.0-or-later
//! Adds a guest's interface to its bridge, through rtnetlink(7).
//!
//! One message replaces Xen's script `vif-bridge`: it sets the interface's MTU and bridge and
//! brings it up. ARP and multicast are switched off, because the interface is a port of the bridge
//! and has no address. With `vifname=` it also renames the interface, after another message that
//! brings it down: Linux before 6.3 renames no interface that is up (`dev_change_name`).

use std::fs;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;
use xen::units::DomId;

use super::error::KernelError;
use crate::backends::DevicesError;
use crate::backends::netlink::{self, Message};

/// `linux/rtnetlink.h` and `linux/if_link.h`.
const RTM_NEWLINK: u16 = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;

/// `linux/if.h`.
const IFF_UP: u32 = 1;
const IFF_NOARP: u32 = 0x80;
const IFF_MULTICAST: u32 = 0x1000;

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
        let socket = netlink::Socket::open(SockProtocol::NetlinkRoute).map_err(failed)?;
        let result = match name {
            None => socket.order(message(0, &netback_name, master, mtu)),
            Some(name) => {
                let Some(current) = self.current_name() else { return Ok(false) };
                let index = if_nametoindex(current.as_str()).map_err(failed)?;
                let renamed = || socket.order(message(index, name, master, mtu));
                if current == name {
                    renamed()
                } else {
                    socket.order(down(index)).and_then(|()| renamed())
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

/// Returns the message that configures the interface with an index, and renames it. With index 0
/// the kernel finds the interface by its name.
fn message(index: u32, name: &str, master: u32, mtu: u16) -> Message {
    let mut message = header(index, IFF_UP | IFF_NOARP, IFF_UP | IFF_NOARP | IFF_MULTICAST);
    message.attribute(IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat());
    message.attribute(IFLA_MTU, &u32::from(mtu).to_ne_bytes());
    message.attribute(IFLA_MASTER, &master.to_ne_bytes());
    message
}

/// Returns the message that brings the interface with an index down.
fn down(index: u32) -> Message {
    header(index, 0, IFF_UP)
}

/// Returns a message with a `struct ifinfomsg`.
fn header(index: u32, flags: u32, change: u32) -> Message {
    let mut message = Message::new(RTM_NEWLINK);
    // The family and the type.
    message.bytes(&[0; 4]);
    for field in [index, flags, change] {
        message.bytes(&field.to_ne_bytes());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_the_layout_of_the_kernel_headers() {
        let bytes = message(9, "vif7.0", 5, 1400).finished(netlink::ACK);
        assert_eq!(bytes.len(), 16 + 16 + 12 + 8 + 8);
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()), 60);
        assert_eq!(&bytes[16..32], [0, 0, 0, 0, 9, 0, 0, 0, 0x81, 0, 0, 0, 0x81, 0x10, 0, 0]);
        assert_eq!(&bytes[32..44], b"\x0b\0\x03\0vif7.0\0\0");
        assert_eq!(&bytes[44..52], [8, 0, 4, 0, 0x78, 5, 0, 0]);
        assert_eq!(&bytes[52..60], [8, 0, 10, 0, 5, 0, 0, 0]);
        let bytes = down(9).finished(netlink::ACK);
        assert_eq!(&bytes[..16], [32, 0, 0, 0, 16, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[16..], [0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
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
