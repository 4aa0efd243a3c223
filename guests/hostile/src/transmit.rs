//! The transmit ring of `public/io/netif.h`, without a driver's checks.

use alloc::vec::Vec;

use unikernel::{Guest, Port, wait};
use xen_abi::io::ring::{REQ_PROD, RSP_EVENT, RSP_PROD};
use xen_ring::{NetTx, Protocol, RawPage, SharedPage};

use crate::frames::Frame;
use crate::raw;

/// The offset of the frames in their page, and the distance between them. They lie in the upper
/// half of the receive ring's page, which this guest does not use, but which is granted to the
/// backend.
const FRAMES: usize = 2048;
const FRAME_SPACE: usize = 64;

/// `struct netif_tx_request` without its ID; its values may be invalid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) grant: u32,
    pub(crate) offset: u16,
    pub(crate) flags: u16,
    pub(crate) size: u16,
}

/// The transmit half of an interface.
pub(crate) struct Transmit {
    ring: RawPage,
    frames: RawPage,
    /// The grant by which the backend may read the page of the frames.
    grant: u32,
    port: Port,
    produced: u32,
}

impl Transmit {
    /// Takes the first interface, before anything was sent on it.
    pub(crate) fn new(guest: &Guest) -> Self {
        let vif = raw::vif(guest);
        Self {
            ring: vif.transmit_ring,
            frames: vif.receive_ring,
            grant: vif.receive_grant,
            port: vif.port,
            produced: 0,
        }
    }

    /// Writes a frame where the backend may read it, and returns a valid request for it.
    pub(crate) fn place(&mut self, number: usize, frame: &Frame) -> Request {
        let start = FRAMES + number * FRAME_SPACE;
        for (index, word) in frame.words().enumerate() {
            self.frames.store(start + index * 4, word);
        }
        Request { grant: self.grant, offset: narrow(start), flags: 0, size: narrow(frame.len()) }
    }

    /// Sets the producer index, whatever the ring holds, and notifies the backend.
    pub(crate) fn publish(&mut self, produced: u32) {
        self.produced = produced;
        self.ring.store(REQ_PROD, produced);
        self.port.notify();
    }

    /// Sends requests and waits for the responses. Returns their statuses in the order of the
    /// requests.
    pub(crate) fn send(&mut self, requests: &[Request]) -> Vec<i16> {
        let first = self.produced;
        for (number, request) in (0..).zip(requests) {
            let slot = NetTx::slot(first + number);
            let id = narrow(number as usize);
            self.ring.store(slot, request.grant);
            self.ring.store(slot + 4, pair(request.offset, request.flags));
            self.ring.store(slot + 8, pair(id, request.size));
        }
        let end = first + u32::from(narrow(requests.len()));
        // Set this before the requests are published: the backend reads it when it responds.
        self.ring.store(RSP_EVENT, end);
        self.publish(end);
        while self.ring.load(RSP_PROD) != end {
            wait(&[self.port], None);
        }
        let mut statuses = alloc::vec![i16::MIN; requests.len()];
        for index in first..end {
            let [id, status] = halves(self.ring.load(NetTx::slot(index)));
            statuses[usize::from(id)] = status.cast_signed();
        }
        statuses
    }
}

fn pair(low: u16, high: u16) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

fn halves(word: u32) -> [u16; 2] {
    let bytes = word.to_le_bytes();
    [u16::from_le_bytes([bytes[0], bytes[1]]), u16::from_le_bytes([bytes[2], bytes[3]])]
}

/// Converts one of this guest's own numbers, which are all small.
fn narrow(number: usize) -> u16 {
    u16::try_from(number).unwrap_or_else(|_| panic!("hostile: {number} is too large"))
}
