//! What a user asks for, carried out by `chaosd` where it runs and by this process otherwise.
//!
//! The command, the measurements and any other program that creates guests call this; it prints
//! nothing. A create has three steps:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use chaos::config;
//! use chaos::guests::CreateOptions;
//! use chaos::request::{Executor, Usage, expand};
//! use chaos::timings::Timings;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut timings = Timings::start();
//! let parsed = config::parse_file(Path::new("redis.cfg"), &[], true)?;
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
//! * An [`Executor`] belongs to one thread: a [`Host`](crate::guests::Host) counts its references with `Rc`
//!   and is not `Send`. A program with several threads opens one in the thread that creates guests
//!   and sends its requests there.
//! * [`Executor::choose`] decides once. A connection is lost when `chaosd` is restarted: the next
//!   request then fails with [`DaemonError::Closed`](crate::clients::chaosd::client::DaemonError::Closed), and the caller opens another executor.
//!   An executor without `chaosd` does not notice that one was started.
//! * [`Executor::create`] waits for the guest: up to 30 s for `chaosd` to answer, without a limit in
//!   this process.
//! * [`CreatedGuest::mapped`] keeps the guest's memory mapped in this process until it is dropped.
//! * [`Usage::ManyGuests`] keeps the kernels it has read, up to 256 MiB.

mod create;
mod error;
mod expand;
mod pool;

pub use create::{CreatedGuest, Executor, Usage};
pub use error::RequestError;
pub use expand::expand;
pub use pool::PoolControl;

pub use crate::clients::chaosd::protocol::{FlavourStatus, Origin};

#[cfg(test)]
mod tests;
