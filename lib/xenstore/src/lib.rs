//! XenStore's messages, both halves: `struct xsd_sockmsg` of Xen's `public/io/xs_wire.h`, and what
//! follows it as `docs/misc/xenstore.txt` says.
//!
//! ```text
//! header   the 16 bytes before each payload, and how a stream of bytes is cut into messages
//! kind     what a message is, and the errors' names
//! access   who may do what with a node
//! path     which texts are paths
//! batch    the client's half: writes requests
//! message  the client's half: reads replies and events
//! request  the server's half: reads requests
//! reply    the server's half: writes replies, errors and events
//! ```
//!
//! There is no store here. What the server's half reads may be written by a guest: it is bounded,
//! never panics and copies nothing but permissions.
//!
//! The crate `xenstore-rs`, which the toolstack also uses, keeps its messages to itself and has no
//! transactions, no permissions and no watches.

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
