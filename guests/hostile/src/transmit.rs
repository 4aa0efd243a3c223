//! The transmit ring of `public/io/netif.h`, driven without a driver's care.

use alloc::vec::Vec;

use unikernel::{Guest, Port, wait};
use xen_abi::io::ring::{REQ_PROD, RSP_EVENT, RSP_PROD};
use xen_ring::{NetTx, Protocol, RawPage, SharedPage};

use crate::frames::Frame;
use crate::raw;

/// Where frames lie in the page that holds them, and how far apart: in the upper half of the
/// receive ring, which this guest never uses, but which is granted to the backend.
const FRAMES: usize = 2048;
const FRAME_SPACE: usize = 64;

/// `struct netif_tx_request`; the backend has not seen it yet, so anything goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) grant: u32,
    pub(crate) offset: u16,
    pub(crate) flags: u16,
    pub(crate) size: u16,
}

/// The sending half of an interface.
pub(crate) struct Transmit {
    ring: RawPage,
    frames: RawPage,
    /// Under which the backend may read the page of the frames.
    grant: u32,
    port: Port,
    produced: u32,
}

impl Transmit {
    /// Takes the first interface, on which nothing has been sent yet.
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

    /// Puts a frame where the backend may read it and gives the request that is right for it.
    pub(crate) fn place(&mut self, number: usize, frame: &Frame) -> Request {
        let start = FRAMES + number * FRAME_SPACE;
        for (index, word) in frame.words().enumerate() {
            self.frames.store(start + index * 4, word);
        }
        Request { grant: self.grant, offset: narrow(start), flags: 0, size: narrow(frame.len()) }
    }

    /// Moves the producer index and tells the backend, whatever the ring holds.
    pub(crate) fn publish(&mut self, produced: u32) {
        self.produced = produced;
        self.ring.store(REQ_PROD, produced);
        self.port.notify();
    }

    /// Sends requests and waits for the answers; gives their statuses in the requests' order.
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
        // Before the requests are seen: the backend reads it when the answers are there.
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

/// Numbers of this guest's own making, all small.
fn narrow(number: usize) -> u16 {
    u16::try_from(number).unwrap_or_else(|_| panic!("hostile: {number} is too large"))
}
