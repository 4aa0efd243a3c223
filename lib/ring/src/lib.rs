// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both ends of Xen's rings, over memory that another domain writes at any time.
//!
//! * [`SharedPage`] is that memory. [`RawPage`] is a page by its address, for guests; dom0's
//!   mappings of other domains' pages implement it in the crate `xen`.
//! * [`BackRing`] and [`FrontRing`] are the two ends of a ring of requests and responses; a
//!   [`Protocol`] says what its slots hold.
//! * [`Producer`] and [`Consumer`] are the two ends of a ring of bytes; a [`ByteStream`] says where
//!   in its page it lies.
//!
//! Each end keeps its own indices in private memory and only publishes them. From the page it uses
//! only the other end's index, after checking it against its own: a hostile peer causes an error,
//! never a panic or an access outside of the page. The contents of a slot are returned as a copy,
//! whose fields the caller must check.
//!
//! # Order
//! Three rules make the rings correct; `tests/loom.rs` checks them on every interleaving:
//! * An end that publishes an index writes the slots first and stores the index with release order;
//!   the other end loads the index with acquire order and reads the slots afterwards.
//! * An end that publishes an index executes a full fence before it loads the other end's event
//!   index.
//! * An end that is about to sleep stores its event index and executes a full fence before it loads
//!   the other end's index once more. So at least one of the two sees the other's store, and no
//!   event is missed.
//!
//! The device page has a trait of its own in the crate `noxs`, which depends on no other crate: the
//! page is copied word by word under a sequence lock and has no rings.
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
