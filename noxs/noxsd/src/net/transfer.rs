//! The frames of one turn, and memory that each turn uses again.

use std::collections::VecDeque;

use xen_abi::io::netif::TxRequest;

use super::NetFault;
use super::switch::{BridgePortId, End, Route, Switch};
use crate::host::buffers::{BufferIndex, GrantCopy, PageBuffers};
use crate::turns::TurnId;

/// Frames that are handled at a time, each in a buffer of its own.
pub const BATCH: usize = 64;

/// A frame on its way to a guest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    pub(super) to: BridgePortId,
    /// Number of the buffer with the frame.
    pub(super) buffer: BufferIndex,
    pub(super) length: u16,
    /// It may wait for a page. Frames for all do not: many guests never look at them.
    pub(super) may_wait: bool,
}

/// See the module's text.
#[derive(Debug)]
pub struct Transfer {
    pub(super) buffers: PageBuffers,
    /// The requests whose frames are being fetched, in the order of their copies.
    pub(super) requests: Vec<TxRequest>,
    pub(super) copies: Vec<GrantCopy>,
    pub(super) deliveries: Vec<Delivery>,
    /// The receiver and the identifier of its request, for each copy to a guest.
    pub(super) answers: Vec<(BridgePortId, u16)>,
    /// Receivers that have got responses.
    pub(super) touched: Vec<BridgePortId>,
    /// Frames that found no page.
    pub(super) late: Vec<Delivery>,
    /// Bytes of frames that wait for their receivers, on all bridges.
    pub(super) waiting_bytes: usize,
    /// Turns of receivers that frames wait for.
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
            waiting_bytes: 0,
            woken: Vec::new(),
            faults: VecDeque::new(),
        }
    }
}

/// Lists the guests that a frame goes to.
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
