// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the project's daemons and their clients share.
//!
//! A daemon listens on a `SOCK_SEQPACKET` Unix socket: one message a packet, files beside it, one
//! reply for each request, in order. A client needs the first block; the second, behind the feature
//! `server`, is the daemon's.
//!
//! ```text
//! chain      an error and its causes in one line
//! encoding   one byte for the version, then bincode: messages and files
//! wait       waits for a descriptor until a deadline
//! packet     sends and receives packets with files
//! client     connects to a daemon and exchanges packets with it; the error that says what failed
//!
//! folder     folders with exact modes
//! lock       one daemon per socket; waits for a predecessor that is exiting
//! listener   the socket, with its group and mode
//! level      waits for descriptors by level
//! clients    accepts and evicts clients, serves them in turns
//! log        the log on standard error
//! system     the limit of open files, groups
//! ```
//!
//! `unsafe` code is in [`packet`] (received descriptors get an owner, and programs get none) and in
//! [`level`] (one system call).

pub mod chain;
pub mod client;
pub mod encoding;
pub mod packet;
pub mod wait;

#[cfg(feature = "server")]
pub mod clients;
#[cfg(feature = "server")]
pub mod folder;
#[cfg(feature = "server")]
pub mod level;
#[cfg(feature = "server")]
pub mod listener;
#[cfg(feature = "server")]
pub mod lock;
#[cfg(feature = "server")]
pub mod log;
#[cfg(feature = "server")]
pub mod system;
