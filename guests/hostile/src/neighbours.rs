// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of IPv6 about neighbours (RFC 4861) with true and false addresses.

use core::net::Ipv6Addr;

use noxs::MacAddr;
use noxs::eui64::link_local;
use unikernel::Guest;

use crate::frames::{Frame, NEIGHBOUR, checksum, own};

/// The address of the guest that is attacked, that of dom0, and one that no host has.
const NEIGHBOURS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const DOM0S: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const FALSE_SOURCE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// The flag of an advertisement that replaces an earlier address.
const OVERRIDE: u8 = 0x20;

/// Returns messages that this guest may not send: it claims the addresses of others.
pub(crate) fn spoofed(guest: &Guest) -> [Frame; 4] {
    let (mac, _) = own(guest);
    let source = link_local(mac);
    [
        message(mac, source, ADVERTISEMENT, NEIGHBOURS),
        message(mac, source, ADVERTISEMENT, link_local(NEIGHBOUR)),
        message(mac, source, ADVERTISEMENT, DOM0S),
        message(mac, FALSE_SOURCE, SOLICITATION, DOM0S),
    ]
}

/// Returns a solicitation for dom0's address, from this guest's own link-local one.
pub(crate) fn solicitation(guest: &Guest) -> Frame {
    let (mac, _) = own(guest);
    message(mac, link_local(mac), SOLICITATION, DOM0S)
}

/// Returns a message to a group, which says that `mac` has the target of an advertisement or sends a
/// solicitation.
fn message(mac: MacAddr, source: Ipv6Addr, kind: u8, target: Ipv6Addr) -> Frame {
    let [.., a, b, c] = target.octets();
    let (group, flags, option) = match kind {
        SOLICITATION => ([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c], 0, [1, 1]),
        _ => ([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], OVERRIDE, [2, 1]),
    };
    let to = MacAddr([0x33, 0x33, group[12], group[13], group[14], group[15]]);
    // Version 6, 32 bytes of ICMPv6, hop limit 255.
    let fixed = [0x60, 0, 0, 0, 0, 32, 58, 255];
    let (source, target) = (source.octets(), target.octets());
    let parts = |sum: [u8; 2]| ([kind, 0, sum[0], sum[1]], [flags, 0, 0, 0]);
    let (head, rest) = parts([0; 2]);
    let pseudo = [0, 0, 0, 32, 0, 0, 0, 58];
    let sum = checksum(&[&source, &group, &pseudo, &head, &rest, &target, &option, &mac.0]);
    let (head, rest) = parts(sum.to_be_bytes());
    let body: [&[u8]; 8] = [&fixed, &source, &group, &head, &rest, &target, &option, &mac.0];
    Frame::new(to, mac, 0x86dd, &body)
}
