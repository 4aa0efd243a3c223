//! A guest that does nothing, then blocks: what a guest costs when it is only there.

#![no_std]
#![no_main]

use unikernel::{Guest, println, wait};

unikernel::guest!(main);

fn main(_: Guest) {
    println!("noop: ready");
    loop {
        // No port to wait for and no deadline: only dom0's power requests wake the guest.
        wait(&[], None);
    }
}
