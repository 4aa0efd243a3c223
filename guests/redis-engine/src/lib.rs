// SPDX-License-Identifier: MIT OR Apache-2.0
//! Redis commands on data in memory: the wire protocol (RESP2 and RESP3), the commands and the
//! data. The engine has no I/O and no clock, and needs no operating system: the program that embeds
//! it provides bytes, time and memory.
//!
//! * [`Store`] holds the data: one database.
//! * [`Session`] is one connection. [`Session::feed`] takes bytes as they arrive, executes every
//!   complete command in them and appends the replies to an [`Output`].
//! * [`Memory`] reports how much memory is left. If a command could need more than that, the engine
//!   replies with Redis's `OOM` error before the command changes anything. So the guest never fails
//!   because it runs out of memory. What incomplete requests hold is limited, too:
//!   [`Store::requests_exceed_their_share`] says when the program must close a connection.
//!
//! * [`Store::load`] loads the data from a [`Disk`], on which `SAVE` and `BGSAVE` then save it.
//!   [`Store::work`] continues a snapshot in the background.
//!
//! # Differences from Redis
//!
//! Replies are byte for byte those of Redis, in RESP2 and RESP3, except for these:
//!
//! * There is one database, and the settings, `INFO` and `COMMAND` describe this engine.
//! * Unordered replies (`KEYS`, `SMEMBERS`, `HGETALL`) have a different order, and cursors of
//!   `SCAN` a different meaning.
//! * `INCRBYFLOAT` calculates with 64 bits where Redis has 80: 0.1 + 0.2 has a last digit that
//!   Redis rounds away. Hexadecimal floating-point numbers are not accepted.
//! * Commands that only read are also refused with `OOM` when memory runs out for the reply, and
//!   every command whose arguments take more than half of the free memory.
//! * A command has at most 1,048,576 arguments, its name included, and a line of a request at most
//!   65,536 bytes.
//! * In errors that repeat arguments of the command, these are cut off after 128 bytes, and bytes
//!   that are not UTF-8 are replaced.
//! * Snapshots are saved when a client asks for it, never on a schedule. `BGSAVE` is no other process:
//!   a client waits while a value is written that is larger than what the disk takes at once.
//!   `INFO`'s `rdb_changes_since_last_save` counts commands, not the elements that they changed.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod args;
mod bytes;
mod client;
mod clients;
mod commands;
mod error;
mod glob;
mod keyed;
mod memory;
mod number;
mod output;
mod parser;
mod random;
mod requests;
mod session;
mod snapshot;
mod store;
mod value;
mod version;
mod zset;

pub use memory::Memory;
pub use output::Output;
pub use session::{Progress, Session};
pub use snapshot::{Disk, DiskFailed, LoadError, Loaded, SaveError, Work};
pub use store::Store;
pub use version::REDIS_VERSION;
