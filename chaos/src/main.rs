//! `chaos`, the command on dom0.
//!
//! It is started for each guest, so the time it takes to start counts. Rust's runtime asks the
//! kernel for the bounds of the stack, and gives it an alternate stack for signals, before `main`:
//! a tenth of what the whole command takes. All that these are for is a message when the stack
//! overflows. So the C library calls this program's `main` itself, and what else the runtime does
//! is done in [`start`].
#![cfg_attr(not(test), no_main)]

mod cli;
mod start;
