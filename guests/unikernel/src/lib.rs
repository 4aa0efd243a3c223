//! Runtime of chaos's own Xen guests.
//!
//! A guest is one program on one vCPU, without an operating system, without interrupts and without
//! threads: it waits for an event, does what there is to do, and waits again. This crate takes it
//! from the first instruction to `main` and gives it a heap, a console, a clock, TCP over IPv4 and
//! a way to wait. See the README for a whole guest.
//!
//! * [`guest!`] names the guest's `main`, which gets a [`Guest`]. When `main` returns, the domain
//!   powers off; when it panics, the message is printed and the domain ends as crashed.
//! * [`println!`] prints to the console.
//! * [`Instant`] and [`unix_time`] tell the time; [`wait`] and [`sleep_until`] sleep.
//! * [`net`] serves TCP.
//! * [`heap`] tells how much memory is left; the heap itself is the global allocator.
//!
//! How it finds its devices is specified in `docs/noxs-abi.md`.

#![cfg_attr(not(test), no_std)]
// A host test has no entry point, so most of the runtime is not reached there.
#![cfg_attr(test, allow(dead_code))]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(not(test))]
mod boot;
mod clock;
mod console;
mod cpu;
mod device_page;
mod event;
#[cfg(not(test))]
mod exceptions;
mod grant;
mod guest;
pub mod heap;
mod hypercall;
mod layout;
mod memory;
pub mod net;
#[cfg(not(test))]
mod paging;
#[cfg(not(test))]
mod params;
mod power;
mod shared_info;
mod start_info;

pub use clock::{Instant, unix_time};
pub use console::print;
pub use event::{Port, sleep_until, wait};
pub use guest::Guest;

/// Makes a function of type `fn(Guest)` the guest's `main`.
///
/// ```ignore
/// unikernel::guest!(main);
///
/// fn main(guest: unikernel::Guest) {
///     unikernel::println!("domain {} is here", guest.domid());
/// }
/// ```
#[macro_export]
macro_rules! guest {
    ($main:path) => {
        // The runtime calls this name, and only this macro defines it, with the type it expects.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        fn unikernel_main(guest: $crate::Guest) {
            const MAIN: fn($crate::Guest) = $main;
            MAIN(guest)
        }
    };
}
