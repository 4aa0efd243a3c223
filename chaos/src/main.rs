// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos`, the command on dom0.
//!
//! The command is started for each guest, so its start must be fast. Before `main`, Rust's runtime
//! reads the bounds of the stack from the kernel and sets up an alternate stack for signals. That
//! takes a tenth of the command's time, and only serves to print a message when the stack
//! overflows. Therefore the C library calls `main` in [`start`] directly, which does the rest of
//! what the runtime would do.
#![cfg_attr(not(test), no_main)]

mod cli;
mod start;
