//! Redis commands on data in memory: the wire protocol (RESP2 and RESP3), the commands and the
//! data. No I/O, no clock, no operating system: whoever embeds it brings bytes, time and memory.
//!
//! * [`Store`] is the data: one database.
//! * [`Session`] is one connection: [`Session::feed`] takes bytes as they came, executes every
//!   whole command in them and appends the replies to an [`Output`].
//! * [`Memory`] tells how much memory is left. A command that could need more than that is
//!   answered with Redis's `OOM` error before it changes anything, so that running out of memory
//!   is never the end of the guest.
//!
//! # Differences from Redis
//!
//! Replies are the same bytes as those of Redis, in RESP2 and RESP3, but for these:
//!
//! * There is one database, and the settings, `INFO` and `COMMAND` tell about this engine.
//! * Unordered replies (`KEYS`, `SMEMBERS`, `HGETALL`) have another order, and cursors of `SCAN`
//!   another meaning.
//! * `INCRBYFLOAT` calculates with 64 bits where Redis has 80: 0.1 + 0.2 has a last digit that
//!   Redis rounds away. Hexadecimal floating-point numbers are not read.
//! * Reading is refused with `OOM` too when there is no memory for the reply.
//! * A command has at most 1,048,576 words, and a line of a request at most 65,536 bytes.
//! * In errors that repeat words of the command, long words are cut at 128 bytes, and bytes that
//!   are no UTF-8 are replaced.

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
mod session;
mod store;
mod value;
mod version;
mod zset;

pub use memory::Memory;
pub use output::Output;
pub use session::{Progress, Session};
pub use store::Store;
pub use version::REDIS_VERSION;
