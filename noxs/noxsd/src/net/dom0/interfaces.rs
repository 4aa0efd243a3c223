// SPDX-License-Identifier: GPL-3.0-or-later
//! dom0's network interfaces and their addresses.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use noxs::MacAddr;

use super::Dom0Addresses;
use super::netlink::{InterfaceIndex, Message};

/// dom0's interfaces, as far as the kernel has reported them.
#[derive(Debug, Default)]
pub struct Interfaces {
    by_index: HashMap<InterfaceIndex, Interface>,
}

/// An interface. Its addresses may be reported before its name.
#[derive(Debug, Default)]
struct Interface {
    name: String,
    mac: Option<MacAddr>,
    addresses: BTreeSet<IpAddr>,
}

impl Interfaces {
    /// Records what a message says. Returns whether something has changed.
    pub fn update(&mut self, message: Message) -> bool {
        match message {
            Message::Interface { index, name, mac } => {
                let interface = self.by_index.entry(index).or_default();
                let changed = interface.name != name || interface.mac != mac;
                (interface.name, interface.mac) = (name, mac);
                changed
            }
            Message::InterfaceRemoved(index) => self.by_index.remove(&index).is_some(),
            Message::Address(index, address) => {
                self.by_index.entry(index).or_default().addresses.insert(address)
            }
            Message::AddressRemoved(index, address) => {
                let interface = self.by_index.get_mut(&index);
                interface.is_some_and(|interface| interface.addresses.remove(&address))
            }
            Message::Done | Message::Refused(_) | Message::Interrupted => false,
        }
    }

    /// Returns the addresses of the interface with this name; none if there is no such interface.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Dom0Addresses {
        let found = self.by_index.values().find(|interface| interface.name == name);
        let Some(interface) = found else { return Dom0Addresses::default() };
        Dom0Addresses::new(interface.mac, interface.addresses.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2; 6]);

    fn named(index: u32, name: &str) -> Message {
        let index = InterfaceIndex(index);
        Message::Interface { index, name: name.to_owned(), mac: Some(MAC) }
    }

    #[test]
    fn addresses_follow_their_interface() {
        let mut interfaces = Interfaces::default();
        let index = InterfaceIndex(7);
        let (ipv4, ipv6) = ("10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap());
        assert!(interfaces.update(Message::Address(index, ipv6)), "before its interface");
        assert!(interfaces.update(named(7, "xenbr0")));
        assert!(interfaces.update(named(8, "eth0")));
        assert!(interfaces.update(Message::Address(index, ipv4)));
        assert!(!interfaces.update(Message::Address(index, ipv4)));
        let expected = Dom0Addresses::new(Some(MAC), [ipv4, ipv6].into_iter());
        assert_eq!(interfaces.addresses("xenbr0"), expected);

        assert!(interfaces.update(named(7, "br1")), "a new name");
        assert_eq!(interfaces.addresses("xenbr0"), Dom0Addresses::default());
        assert_eq!(interfaces.addresses("br1"), expected);
        assert!(interfaces.update(Message::AddressRemoved(index, ipv6)));
        assert!(!interfaces.addresses("br1").has_ipv6("fe80::1".parse().unwrap()));
        assert!(interfaces.update(Message::InterfaceRemoved(index)));
        assert_eq!(interfaces.addresses("br1"), Dom0Addresses::default());
        assert!(!interfaces.update(Message::InterfaceRemoved(index)));
        assert!(!interfaces.update(Message::AddressRemoved(index, ipv4)));
    }
}
