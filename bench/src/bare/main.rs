//! `bare`: a process that ends with its first instructions. What it takes is Linux's own part of
//! every process: no C library has been started.
//!
//! `unsafe`: the name of the program's entry is given to the linker, and the system call is made by
//! hand, for the C library's would want it started.
#![no_main]
#![allow(unsafe_code)]

use std::arch::asm;

use nix::libc::SYS_exit_group;

/// Where Linux enters the program.
// SAFETY: nothing else is called so: the program is linked without the C library's start
// (`build.rs`).
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    // SAFETY: `exit_group` takes a status, 0, and does not come back. It needs neither a stack that
    // is aligned nor a C library.
    unsafe { asm!("syscall", in("rax") SYS_exit_group, in("rdi") 0, options(noreturn, nostack)) }
}
