//! Both ends of Xen's rings, over memory that another domain writes at any time.
//!
//! * [`SharedPage`] is that memory. [`RawPage`] is a page by its address, for guests; dom0's mappings
//!   of other domains' pages implement it in the crate `xen`.
//! * [`BackRing`] and [`FrontRing`] are the two ends of a ring of requests and responses; a
//!   [`Protocol`] says what its slots hold.
//! * [`Producer`] and [`Consumer`] are the two ends of a ring of bytes; a [`ByteStream`] says where
//!   in its page it lies.
//!
//! Each end keeps its own indices here and only publishes them. It believes nothing of the page but
//! the index that the other end owns, and that only after checking it against its own: a hostile peer
//! causes an error and never a panic or an access outside of the page. What a slot holds is a copy,
//! whose fields the caller must check.
//!
//! # Order
//! Three rules carry all of it, and `tests/loom.rs` checks them on every interleaving:
//! * Whoever publishes an index writes the slots first and stores the index with release order; the
//!   other end loads the index with acquire order and reads the slots afterwards.
//! * Whoever publishes an index has a full fence between storing it and loading the other end's wish
//!   for an event.
//! * Whoever is about to sleep has a full fence between storing its wish and loading the other end's
//!   index once more. So one of the two sees what the other has written, and no event is missed.
//!
//! The device page has a trait of its own in the crate `noxs`, which depends on no other: it is moved
//! under a sequence lock, by words only, and has no rings.
//!
//! The only `unsafe` code is in [`RawPage`].

#![no_std]

#[cfg(any(test, feature = "testing"))]
extern crate std;

mod back;
mod bytes;
mod front;
mod page;
mod protocol;
mod raw;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use back::{BackRing, BrokenRing};
pub use bytes::{
    BrokenStream, ByteStream, ConsoleInput, ConsoleOutput, Consumer, Producer, XenStoreRequests,
    XenStoreResponses,
};
pub use front::{FrontRing, Overrun};
pub use page::SharedPage;
pub use protocol::{Block, NetRx, NetTx, Protocol};
pub use raw::RawPage;
