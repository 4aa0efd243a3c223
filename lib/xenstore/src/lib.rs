// SPDX-License-Identifier: MIT OR Apache-2.0
//! XenStore's messages, both halves: `struct xsd_sockmsg` of Xen's `public/io/xs_wire.h`, and the
//! payloads of `docs/misc/xenstore.txt`. Numbers and limits are those of [`xen_abi::io::xs_wire`].
//!
//! ```text
//! header   the 16 bytes before each payload, and how a stream of bytes is split into messages
//! kind     the kinds of messages, and the names of errors
//! access   the permissions of a node
//! path     valid paths
//! batch    the client's half: writes requests
//! message  the client's half: reads replies and events
//! request  the server's half: reads requests
//! reply    the server's half: writes replies, errors and events
//! ```
//!
//! There is no store here. The server's half may read messages of a guest: its work is bounded, it
//! never panics, and it copies only permissions.

mod access;
mod batch;
mod header;
mod kind;
mod message;
mod path;
mod reply;
mod request;

pub use access::{Access, NodeAccess};
pub use batch::{Batch, Permission};
pub use header::{Frame, HEADER, Header, MAX_PAYLOAD, TooLong};
pub use kind::{ErrorName, Kind};
pub use message::Message;
pub use path::{MAX_ABSOLUTE, MAX_RELATIVE, Path};
pub use reply::{Reply, write_event};
pub use request::{Malformed, Request};
