// SPDX-License-Identifier: GPL-3.0-or-later
//! The messages of `chaosd`, which keeps shells ready, and their client.
//!
//! They are sent over a `SOCK_SEQPACKET` Unix socket at [`SOCKET`], one message in each packet.
//! Each request is answered by one reply, in order. Only [`protocol`] knows the encoding.

pub mod client;
pub mod protocol;

/// Where `chaosd` listens.
pub const SOCKET: &str = "/run/chaos/chaosd.sock";
