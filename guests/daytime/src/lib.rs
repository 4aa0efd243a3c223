// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts of the daytime guest that do not need the runtime, so that they can be tested on any
//! machine.

#![no_std]

#[cfg(test)]
extern crate std;

mod date;

pub use date::Date;
