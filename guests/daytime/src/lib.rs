//! What the daytime guest is made of beside the runtime, so that it can be tested on any machine.

#![no_std]

#[cfg(test)]
extern crate std;

mod date;

pub use date::Date;
