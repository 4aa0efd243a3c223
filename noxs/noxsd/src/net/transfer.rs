// SPDX-License-Identifier: GPL-3.0-or-later
//! The frames of one turn, and memory that every turn reuses.

use std::collections::VecDeque;

use xen_abi::io::netif::TxRequest;

use super::NetFault;
use super::switch::{BridgePortId, End, Route, Switch};
use super::waiting::Store;
use crate::host::buffers::{BufferIndex, GrantCopy, PageBuffers};
use crate::turns::TurnId;

/// Most frames of one turn, each in a buffer of its own.
pub const BATCH: usize = 64;

/// Most frames that a guest sends in one turn while others are served, too: their frames wait for
/// so many at most.
pub const SHARED_BATCH: usize = 8;

/// A frame on its way to a guest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    pub(super) to: BridgePortId,
    /// The buffer with the frame.
    pub(super) buffer: BufferIndex,
    pub(super) length: u16,
    /// Whether the frame may wait for a page. Flooded frames do not wait, because many guests never
    /// look at them.
    pub(super) may_wait: bool,
}

/// The frames of one turn.
#[derive(Debug)]
pub struct Transfer {
    pub(super) buffers: PageBuffers,
    /// The requests whose frames are being fetched, in the order of their copies.
    pub(super) requests: Vec<TxRequest>,
    pub(super) copies: Vec<GrantCopy>,
    pub(super) deliveries: Vec<Delivery>,
    /// Receiver and request identifier of each copy to a guest, in the order of the copies.
    pub(super) answers: Vec<(BridgePortId, u16)>,
    /// Receivers whose rings have new responses.
    pub(super) touched: Vec<BridgePortId>,
    /// Frames whose receivers have posted no page.
    pub(super) late: Vec<Delivery>,
    /// What the waiting frames of all bridges share.
    pub(super) store: Store,
    /// Frames that were copied from and to guests, and read from and written to taps, since the
    /// beginning of a turn.
    pub(super) work: usize,
    /// Receivers for which frames have begun to wait, and bridges whose floods continue.
    pub(super) woken: Vec<TurnId>,
    /// Receivers that broke their rings.
    pub(super) faults: VecDeque<(TurnId, NetFault)>,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            buffers: PageBuffers::new(BATCH),
            requests: Vec::new(),
            copies: Vec::new(),
            deliveries: Vec::new(),
            answers: Vec::new(),
            touched: Vec::new(),
            late: Vec::new(),
            store: Store::default(),
            work: 0,
            woken: Vec::new(),
            faults: VecDeque::new(),
        }
    }
}

/// Appends the deliveries of a frame to the guests that it goes to.
pub(super) fn address(
    switch: &Switch,
    route: Route,
    from: End,
    buffer: BufferIndex,
    length: u16,
    deliveries: &mut Vec<Delivery>,
) {
    if let Route::One(End::Port(to)) = route {
        deliveries.push(Delivery { to, buffer, length, may_wait: true });
    }
    for to in switch.targets(route) {
        if End::Port(*to) != from {
            deliveries.push(Delivery { to: *to, buffer, length, may_wait: false });
        }
    }
}
