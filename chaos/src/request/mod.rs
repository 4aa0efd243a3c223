// SPDX-License-Identifier: GPL-3.0-or-later
//! Creates guests through `chaosd` if it is running, and in this process otherwise.
//!
//! For the command, the benchmarks and all other programs that create guests. It prints nothing. A
//! create has four steps:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use chaos::config;
//! use chaos::guests::CreateOptions;
//! use chaos::request::{Executor, Usage, expand, settle_kernel};
//! use chaos::timings::Timings;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut timings = Timings::start();
//! let mut parsed = config::parse_file(Path::new("redis.cfg"), &[], true)?;
//! // The files that a bootloader has found.
//! let _held = settle_kernel(&mut parsed.config)?;
//! let configs = expand(parsed.config, None)?;
//! let executor = Executor::choose(Usage::OneGuest, &mut timings)?;
//! for config in &configs {
//!     let guest = executor.create(config, CreateOptions::default(), &mut timings)?;
//!     assert_eq!(guest.name, config.name);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Long-lived callers
//!
//! * An [`Executor`] belongs to one thread: a [`Host`](crate::guests::Host) counts its references
//!   with `Rc` and is not `Send`. A program with several threads opens the executor in the thread
//!   that creates guests, and sends requests to that thread.
//! * [`Executor::choose`] chooses once. If `chaosd` is restarted, the next request goes to its
//!   successor; if it is stopped, this process creates the guest. An executor without `chaosd` does
//!   not notice that `chaosd` was started.
//! * [`Executor::create`] blocks until the guest is created: at most 30 s for each of three
//!   attempts if `chaosd` creates it, without a limit in this process.
//! * [`CreatedGuest::mapped`] keeps the guest's memory mapped in this process until it is dropped.
//! * [`Usage::ManyGuests`] keeps the kernels that were read, up to 256 MiB.

mod create;
mod error;
mod expand;
mod in_daemon;
mod pool;
mod settle;

pub use create::{CreatedGuest, Executor, Usage};
pub use error::RequestError;
pub use expand::expand;
pub use pool::PoolControl;
pub use settle::{HeldFiles, settle_kernel};

pub use crate::clients::chaosd::protocol::{FlavourStatus, Origin};

#[cfg(test)]
mod tests;
