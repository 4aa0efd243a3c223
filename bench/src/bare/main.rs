// SPDX-License-Identifier: GPL-3.0-or-later
//! `bare`: a process that exits with its first instructions, without starting the C library. Its
//! time is what Linux itself needs for a process.
//!
//! `unsafe` exports the program's entry point to the linker, and makes the system call without the
//! C library, which is not initialised.
#![no_main]
#![allow(unsafe_code)]

use std::arch::asm;

use nix::libc::SYS_exit_group;

/// The entry point of the program.
// SAFETY: no other symbol has this name, because the program is linked without the C library's
// start-up files (`build.rs`).
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    // SAFETY: `exit_group` takes one argument, the status, and never returns, as `noreturn` says.
    // It uses no stack (`nostack`) and accesses no memory of the process.
    unsafe { asm!("syscall", in("rax") SYS_exit_group, in("rdi") 0, options(noreturn, nostack)) }
}
