// SPDX-License-Identifier: GPL-3.0-or-later
//! For the fuzz target `frames`.

use noxs::MacAddr;
use xen_abi::io::netif::ExtraInfo;

use super::frame::{FrameFacts, array};
use super::offload::{Offload, VnetHeader};
use super::rules::{GuestRules, TapRules};
use super::segments;
use super::switch::{BridgePortId, PortAddresses, Switch};

thread_local! {
    /// Creating one takes long.
    static SWITCH: Switch = Switch::default();
}

/// The address of a guest, and its port.
const GUEST: (MacAddr, BridgePortId) = (MacAddr([0, 0x16, 0x3e, 0, 0, 1]), BridgePortId(1));

/// Reads a frame as one of a guest's and as one of the tap's: bytes of a header, then the frame.
///
/// # Panics
/// A frame does what no frame may do: what the fuzzer looks for.
pub fn frame(input: &[u8]) {
    let (Some(header), Some(size), Some(gso_type)) =
        (array(input, 0), array(input, 10), input.get(12))
    else {
        return;
    };
    let size = u16::from_le_bytes(size);
    let extra = ExtraInfo { kind: 1, size, gso_type: *gso_type, ..ExtraInfo::default() };
    let mut frame = input[13..].to_vec();
    if let Some(facts) = FrameFacts::of(&frame) {
        SWITCH.with(|switch| {
            let mut own = GuestRules::new(PortAddresses::new(facts.source, None));
            own.may_send(&facts, &frame, GUEST.1, switch);
            let mut others = GuestRules::new(PortAddresses::new(GUEST.0, None));
            let passes = others.may_send(&facts, &frame, GUEST.1, switch);
            assert!(!passes || facts.source == GUEST.0, "it has another guest's address");
            TapRules::default().may_enter(&facts, &frame, switch);
        });
    }
    let mut other = frame.clone();
    let offloads = [
        VnetHeader::decode(header).offload(&mut other),
        Offload::of_guest(&mut frame, None),
        Offload::of_guest(&mut frame, Some(extra)),
    ];
    for mut offload in offloads.into_iter().flatten() {
        let _ = VnetHeader::of(&frame, offload);
        if let Some(segmentation) = offload.segmentation {
            let mut segment = vec![0; frame.len()];
            for number in 0..segments::count(segmentation, frame.len()) {
                let _ = segments::write(&frame, segmentation, number, &mut segment);
            }
        }
        offload.complete(&mut frame);
    }
}
