// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the slots of a ring hold.

use xen_abi::io::{blkif, netif, ring};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What the slots of a ring hold. The sizes of both types are multiples of four bytes.
pub trait Protocol {
    /// The ring's name in messages.
    const NAME: &'static str;
    /// What the front end writes.
    type Request: FromBytes + IntoBytes + Immutable;
    /// What the back end writes into the slot of a request that it has taken.
    type Response: FromBytes + IntoBytes + Immutable;

    /// Bytes of a slot.
    const SLOT_SIZE: usize = if size_of::<Self::Request>() > size_of::<Self::Response>() {
        size_of::<Self::Request>()
    } else {
        size_of::<Self::Response>()
    };

    /// Slots of a ring of one page; a power of two.
    const SLOTS: u32 = ring::slots(Self::SLOT_SIZE);

    /// Returns the offset in the ring's page of the slot that belongs to an index.
    #[must_use]
    fn slot(index: u32) -> usize {
        ring::SLOTS + (index & (Self::SLOTS - 1)) as usize * Self::SLOT_SIZE
    }
}

/// Frames that a guest sends.
#[derive(Debug)]
pub enum NetTx {}

impl Protocol for NetTx {
    const NAME: &'static str = "transmit";
    type Request = netif::TxRequest;
    type Response = netif::TxResponse;
}

/// Frames that a guest receives.
#[derive(Debug)]
pub enum NetRx {}

impl Protocol for NetRx {
    const NAME: &'static str = "receive";
    type Request = netif::RxRequest;
    type Response = netif::RxResponse;
}

/// Requests to a block device.
#[derive(Debug)]
pub enum Block {}

impl Protocol for Block {
    const NAME: &'static str = "block";
    type Request = blkif::Request;
    type Response = blkif::Response;
}

#[cfg(test)]
mod tests {
    use xen_abi::PAGE_SIZE;

    use super::*;

    fn last_slot_ends_in_the_page<P: Protocol>() {
        assert!(P::slot(u32::MAX) + P::SLOT_SIZE <= PAGE_SIZE, "{}", P::NAME);
        assert_eq!(P::slot(P::SLOTS), P::slot(0), "{}", P::NAME);
    }

    #[test]
    fn slots_lie_in_the_page() {
        assert_eq!((NetTx::SLOTS, NetRx::SLOTS, Block::SLOTS), (256, 256, 32));
        last_slot_ends_in_the_page::<NetTx>();
        last_slot_ends_in_the_page::<NetRx>();
        last_slot_ends_in_the_page::<Block>();
    }
}
