// SPDX-License-Identifier: MIT OR Apache-2.0
//! A ring of requests, without a driver's checks.

use core::marker::PhantomData;
use core::time::Duration;

use unikernel::{Instant, Port, wait};
use xen_abi::io::ring::{REQ_PROD, RSP_EVENT, RSP_PROD};
use xen_ring::{Protocol, RawPage, SharedPage};
use zerocopy::{FromZeros, IntoBytes};

/// How long a backend may take for an answer, on a machine that is emulated.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a condition is true. Returns `false` if it does not become so in time.
pub(super) fn wait_until(port: Port, within: Duration, condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        wait(&[port], Some(deadline));
    }
    true
}

/// A front end that publishes whatever its caller has put.
pub(super) struct Ring<P> {
    pub(super) page: RawPage,
    pub(super) port: Port,
    pub(super) produced: u32,
    protocol: PhantomData<P>,
}

impl<P: Protocol> Ring<P> {
    /// Takes a ring that was not used yet.
    pub(super) fn new(page: RawPage, port: Port) -> Self {
        Self { page, port, produced: 0, protocol: PhantomData }
    }

    /// Writes a request, or some of its bytes, into the next slot.
    pub(super) fn put(&mut self, request: &[u8]) {
        self.write(self.produced, request);
        self.produced = self.produced.wrapping_add(1);
    }

    /// Writes into the slot of an index.
    pub(super) fn write(&self, index: u32, bytes: &[u8]) {
        self.page.write(P::slot(index), bytes);
    }

    /// Publishes what was put, and asks for an event when all of it is answered.
    pub(super) fn publish(&self) {
        self.page.store(RSP_EVENT, self.produced);
        self.page.store(REQ_PROD, self.produced);
        self.port.notify();
    }

    /// Returns whether all requests are answered.
    pub(super) fn is_answered(&self) -> bool {
        self.page.load(RSP_PROD) == self.produced
    }

    /// Waits until all requests are answered. Returns `false` if they are not in time.
    pub(super) fn wait(&self) -> bool {
        self.wait_for(PATIENCE)
    }

    /// As [`wait`](Self::wait), with another deadline.
    pub(super) fn wait_for(&self, within: Duration) -> bool {
        wait_until(self.port, within, || self.is_answered())
    }

    /// Returns how many slots are free; none if the answers' index is impossible.
    pub(super) fn room(&self) -> u32 {
        P::SLOTS.saturating_sub(self.produced.wrapping_sub(self.page.load(RSP_PROD)))
    }

    /// Returns the last `count` answers.
    pub(super) fn answers(&self, count: u32) -> impl Iterator<Item = P::Response> + '_ {
        (self.produced.wrapping_sub(count)..self.produced).map(|index| {
            let mut answer = P::Response::new_zeroed();
            self.page.read(P::slot(index), answer.as_mut_bytes());
            answer
        })
    }
}
