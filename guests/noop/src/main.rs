// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that reports that it is ready and then blocks. It shows what a guest costs as such.

#![no_std]
#![no_main]

use unikernel::{Guest, println, wait};

unikernel::guest!(main);

fn main(_: Guest) {
    println!("noop: ready");
    loop {
        // Without ports and a deadline, only dom0's power requests wake the guest.
        wait(&[], None);
    }
}
