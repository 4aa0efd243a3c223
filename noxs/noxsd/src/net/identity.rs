//! Who a vif may be: which addresses, MTU and rate a toolstack may give it.

use std::ops::RangeInclusive;

use noxs_control::{Refusal, VifIdentity};

use super::frame::HEADER;
use super::{BridgeId, Net};
use crate::host::memory::PAGE_SIZE;

/// Smallest and largest MTU: what IPv4 asks for (RFC 791), and what fits in a page behind the
/// Ethernet header with one byte left, by which a frame shows that it was longer. `chaos` allows
/// less: 1500, which is what taps carry.
const MTU: RangeInclusive<u16> = 68..=4081;

const _: () = assert!(*MTU.end() as usize + HEADER + 1 == PAGE_SIZE);

impl<M> Net<M> {
    /// Checks who the vifs, given by their numbers and bridges, are to be.
    ///
    /// # Errors
    /// A MAC address is in use on its bridge, or cannot be one; an MTU or a rate is out of range.
    pub fn check_identities(
        &self,
        vifs: impl Iterator<Item = (u16, BridgeId)> + Clone,
        identities: &[VifIdentity],
    ) -> Result<(), Refusal> {
        let invalid = |text: String| Err(Refusal::Invalid(text));
        let vifs = vifs.zip(identities);
        for (number, ((index, bridge), identity)) in vifs.clone().enumerate() {
            let VifIdentity { mac, mtu, rate, .. } = *identity;
            if mac.is_multicast() || mac.0 == [0; 6] {
                return invalid(format!(
                    "vif {index} has MAC address {mac}: must not be zero or a multicast address"
                ));
            }
            if !MTU.contains(&mtu) {
                let (least, most) = (MTU.start(), MTU.end());
                return invalid(format!("vif {index} has MTU {mtu}: must be {least} to {most}"));
            }
            if rate.is_some_and(|rate| rate.bytes == 0 || rate.interval_us == 0) {
                return invalid(format!(
                    "vif {index} has a rate of 0 bytes or an interval of 0 µs: both must be positive"
                ));
            }
            let earlier = |((_, other), identity): ((u16, BridgeId), &VifIdentity)| {
                other == bridge && identity.mac == mac
            };
            let switch = &self.bridges[bridge.0].switch;
            if switch.has(mac) || vifs.clone().take(number).any(earlier) {
                return Err(Refusal::MacInUse(mac));
            }
        }
        Ok(())
    }
}
