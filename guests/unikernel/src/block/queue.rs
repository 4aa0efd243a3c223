// SPDX-License-Identifier: MIT OR Apache-2.0
//! The requests in flight: which exist, and which response belongs to which.

use core::fmt;

use noxs::Vbd;
use xen_abi::io::blkif::{BLKIF_RSP_EOPNOTSUPP, BLKIF_RSP_OKAY, Response};
use xen_abi::io::ring::REQ_PROD;
use xen_ring::{Block, FrontRing, Overrun, Protocol, SharedPage};

use super::DiskError;
use super::buffer::Buffer;
use super::request::{Operation, Rejected, Request, check, encode};

/// The slots of a ring: the most requests in flight.
pub(super) const DEPTH: usize = Block::SLOTS as usize;

/// Identifies a request that was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// A request that is done.
#[derive(Debug)]
pub struct Done {
    /// What [`submit`](super::Disk::submit) returned.
    pub ticket: Ticket,
    /// The request's buffer.
    pub buffer: Option<Buffer>,
    /// Whether it was carried out.
    pub result: Result<(), DiskError>,
}

/// What the backend has done against the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Overrun(Overrun),
    /// The response does not belong to a request in flight.
    Response {
        id: u64,
        operation: u8,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overrun(overrun) => write!(
                f,
                "the response index {} is impossible: only {} requests were published",
                overrun.claimed, overrun.possible
            ),
            Self::Response { id, operation } => {
                write!(f, "a response to request {id:#x} with operation {operation}: not in flight")
            }
        }
    }
}

/// A place for a request. Its number is the last part of the request's ID; the rest is a count, so
/// that an old ID is never taken for a new one.
#[derive(Debug)]
struct Slot {
    ticket: Ticket,
    operation: Operation,
    /// The buffer of a request that was submitted with it.
    buffer: Option<Buffer>,
    result: Result<(), DiskError>,
}

/// The requests of one disk.
#[derive(Debug)]
pub(super) struct Queue<M> {
    vbd: Vbd,
    ring: FrontRing<Block, M>,
    slots: [Slot; DEPTH],
    /// Sets of slots, one bit each: those that are free, and those whose request is done. All others
    /// are in flight.
    free: u32,
    done: u32,
    /// The number of requests so far.
    count: u64,
    broken: bool,
}

/// The set of all slots.
const ALL: u32 = u32::MAX;
const _: () = assert!(DEPTH == ALL.count_ones() as usize);

/// Returns whether requests have been made on a ring.
pub(super) fn was_used(page: &impl SharedPage) -> bool {
    page.load(REQ_PROD) != 0
}

fn number(ticket: Ticket) -> usize {
    // Below `DEPTH`, so it fits.
    usize::try_from(ticket.0 % DEPTH as u64).unwrap_or(0)
}

impl<M: SharedPage> Queue<M> {
    pub(super) fn new(vbd: Vbd, ring: FrontRing<Block, M>) -> Self {
        let slots = [const {
            Slot { ticket: Ticket(0), operation: Operation::Flush, buffer: None, result: Ok(()) }
        }; DEPTH];
        Self { vbd, ring, slots, free: ALL, done: 0, count: 0, broken: false }
    }

    pub(super) fn vbd(&self) -> &Vbd {
        &self.vbd
    }

    /// Returns whether there is room for a request.
    pub(super) fn has_room(&self) -> bool {
        self.free != 0
    }

    fn flying(&self) -> u32 {
        !(self.free | self.done)
    }

    /// Returns how many requests are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.flying().count_ones() as usize
    }

    /// Returns whether a request is in flight.
    pub(super) fn is_in_flight(&self) -> bool {
        self.flying() != 0
    }

    /// Puts a request with its buffer into the ring.
    pub(super) fn submit(&mut self, mut request: Request) -> Result<Ticket, Rejected> {
        let put = match &mut request {
            Request::Read { at, length, buffer } => {
                self.put(Operation::Read, *at, *length as u64, Some(buffer))
            }
            Request::Write { at, length, buffer, durable } => {
                let operation = if *durable { Operation::DurableWrite } else { Operation::Write };
                self.put(operation, *at, *length as u64, Some(buffer))
            }
            Request::Flush => self.put(Operation::Flush, 0, 0, None),
            Request::Discard { at, length } => self.put(Operation::Discard, *at, *length, None),
        };
        match put {
            Err(error) => Err(Rejected { error, request }),
            Ok(ticket) => {
                if let Request::Read { buffer, .. } | Request::Write { buffer, .. } = request {
                    self.slots[number(ticket)].buffer = Some(buffer);
                }
                Ok(ticket)
            }
        }
    }

    /// Puts a request into the ring. The caller must keep the buffer until the request is done.
    pub(super) fn put(
        &mut self,
        operation: Operation,
        at: u64,
        length: u64,
        buffer: Option<&mut Buffer>,
    ) -> Result<Ticket, DiskError> {
        let room = buffer.as_ref().map_or(0, |buffer| buffer.size());
        check(&self.vbd, operation, at, length, room)?;
        if self.broken {
            return Err(DiskError::Broken);
        }
        if !self.has_room() {
            return Err(DiskError::Full);
        }
        let slot = self.free.trailing_zeros();
        self.count += 1;
        let ticket = Ticket(self.count * DEPTH as u64 + u64::from(slot));
        self.ring.put(&encode(operation, at, length, buffer, ticket.0));
        self.free &= !(1 << slot);
        self.slots[slot as usize] = Slot { ticket, operation, buffer: None, result: Ok(()) };
        Ok(ticket)
    }

    /// Publishes the requests. Returns whether the backend wants an event for them.
    pub(super) fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// Takes the responses that there are. Returns whether there were any.
    ///
    /// # Errors
    /// The backend has broken the protocol. All requests in flight have failed now.
    pub(super) fn take_responses(&mut self) -> Result<bool, Broken> {
        let mut any = false;
        while !self.broken {
            let taken = self.ring.take().map_err(Broken::Overrun);
            match taken.and_then(|response| response.map(|it| self.answer(it)).transpose()) {
                Ok(Some(())) => any = true,
                Ok(None) => break,
                Err(broken) => {
                    self.fail_all();
                    return Err(broken);
                }
            }
        }
        Ok(any)
    }

    /// Handles one response.
    fn answer(&mut self, response: Response) -> Result<(), Broken> {
        let Response { id, operation, status, .. } = response;
        let slot = number(Ticket(id));
        let is_in_flight = self.flying() & 1 << slot != 0;
        let place = &mut self.slots[slot];
        if !is_in_flight || place.ticket.0 != id || place.operation.code() != operation {
            return Err(Broken::Response { id, operation });
        }
        place.result = match status {
            BLKIF_RSP_OKAY => Ok(()),
            BLKIF_RSP_EOPNOTSUPP => Err(DiskError::Unsupported),
            _ => Err(DiskError::Failed),
        };
        self.done |= 1 << slot;
        Ok(())
    }

    /// Ends the use of the ring.
    pub(super) fn fail_all(&mut self) {
        self.broken = true;
        let flying = self.flying();
        for (number, slot) in self.slots.iter_mut().enumerate() {
            if flying & 1 << number != 0 {
                slot.result = Err(DiskError::Broken);
            }
        }
        self.done |= flying;
    }

    /// Returns a request that is done and that was submitted with its buffer, or had none.
    pub(super) fn complete(&mut self) -> Option<Done> {
        if self.done == 0 {
            return None;
        }
        let number = self.done.trailing_zeros();
        self.free |= 1 << number;
        self.done &= !(1 << number);
        let slot = &mut self.slots[number as usize];
        Some(Done { ticket: slot.ticket, buffer: slot.buffer.take(), result: slot.result })
    }

    /// Returns the result of a request whose buffer the caller has kept, if it is done.
    pub(super) fn finish(&mut self, ticket: Ticket) -> Option<Result<(), DiskError>> {
        let number = number(ticket);
        if self.done & 1 << number == 0 {
            return None;
        }
        self.free |= 1 << number;
        self.done &= !(1 << number);
        Some(self.slots[number].result)
    }

    /// Requests an event for the next response. Returns whether the caller must wait for it: there is
    /// none yet.
    pub(super) fn needs_event(&mut self) -> bool {
        self.is_in_flight() && !self.ring.ask_for_event(1)
    }

    /// Returns whether the caller must wait until a request is done, and requests the event for it.
    pub(super) fn is_waiting(&mut self) -> bool {
        self.done == 0 && self.needs_event()
    }
}
