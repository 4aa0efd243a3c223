//! Redis commands on data in memory: the wire protocol (RESP2 and RESP3), the commands and the
//! data. No I/O, no clock, no operating system: whoever embeds it brings bytes, time and memory.
//!
//! * [`Store`] is the data: one database.
//! * [`Session`] is one connection: [`Session::feed`] takes bytes as they came, executes every
//!   whole command in them and appends the replies to an [`Output`].
//! * [`Memory`] tells how much memory is left. A command that could need more than that is
//!   answered with Redis's `OOM` error before it begins, so that running out of memory is never
//!   the end of the guest.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod args;
mod commands;
mod error;
mod glob;
mod memory;
mod number;
mod output;
mod parser;
mod random;
mod session;
mod store;
mod value;
mod zset;

pub use memory::Memory;
pub use output::Output;
pub use session::{Progress, Session};
pub use store::Store;

/// The version of Redis whose behaviour is followed.
pub const REDIS_VERSION: &str = "7.0.15";
