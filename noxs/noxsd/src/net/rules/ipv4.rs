// SPDX-License-Identifier: GPL-3.0-or-later
//! What an IPv4 packet carries, as far as rules need it.

use super::super::frame::array;

/// The number of UDP.
pub(super) const UDP: u8 = 17;

/// The UDP port that DHCP servers send from (RFC 2131).
const DHCP_SERVER: u16 = 67;

/// Returns whether a packet with [`UDP`] may come from a guest: a DHCP server did not send it, and
/// it is not malformed. A fragment that does not begin with the UDP header may pass, because it
/// has no effect without the one that does.
pub(super) fn may_be_from_guest(packet: &[u8]) -> bool {
    let Some(fragment) = array(packet, 6).map(u16::from_be_bytes) else { return false };
    if fragment & 0x1fff != 0 {
        return true;
    }
    let header = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    let source_port = array(packet, header).map(u16::from_be_bytes);
    header >= 20 && source_port.is_some_and(|port| port != DHCP_SERVER)
}
