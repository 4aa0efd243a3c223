//! The way to `chaosd`, which keeps shells ready: its messages, and the client's end.
//!
//! The messages travel over a `SOCK_SEQPACKET` Unix socket at [`SOCKET`], one message a packet,
//! each request answered by one reply, in order. [`protocol`] is the only module that knows how
//! they are encoded.

pub mod client;
pub mod protocol;

/// Where `chaosd` listens.
pub const SOCKET: &str = "/run/chaos/chaosd.sock";
