// SPDX-License-Identifier: MIT OR Apache-2.0
//! The runtime of chaos's own Xen guests.
//!
//! A guest is one program on one vCPU, without an operating system, interrupts or threads: it waits
//! for an event, does the work, and waits again. This crate boots it from the first instruction to
//! `main` and provides a heap, a console, a clock, TCP over IPv4, disks, and a way to wait. The README
//! has a complete guest.
//!
//! * [`guest!`] declares the guest's `main`, which takes a [`Guest`]. When `main` returns, the
//!   domain powers off; when it panics, the message is printed and the domain shuts down as
//!   crashed.
//! * [`println!`] prints to the console.
//! * [`Instant`] and [`unix_time`] return the time; [`wait`] and [`sleep_until`] sleep.
//! * [`net`] serves TCP, or passes whole frames ([`net::RawInterface`]).
//! * [`block`] reads and writes disks.
//! * `hot_plug`, with the feature of this name, takes devices that dom0 adds while the guest runs.
//! * [`heap`] reports how much memory is left; the heap itself is the global allocator.
//!
//! `docs/noxs-abi.md` specifies how a guest finds its devices.

#![cfg_attr(not(test), no_std)]
// A test on the host has no entry point, so most of the runtime is unused there.
#![cfg_attr(test, allow(dead_code))]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(feature = "hot-plug")]
mod balloon;
pub mod block;
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
mod granted;
mod guest;
pub mod heap;
#[cfg(feature = "hot-plug")]
pub mod hot_plug;
mod hypercall;
mod layout;
mod memory;
pub mod net;
#[cfg(not(test))]
mod paging;
#[cfg(not(test))]
mod params;
mod power;
mod pvclock;
mod shared_info;
mod start_info;

pub use clock::{Instant, unix_time};
pub use console::print;
pub use event::{Port, sleep_until, wait};
pub use guest::Guest;

/// Declares a function of type `fn(Guest)` as the guest's `main`.
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
        // `no_mangle` is unsafe because names may clash. The runtime calls this name, and only this
        // macro defines it, with the type that the runtime expects.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        fn unikernel_main(guest: $crate::Guest) {
            const MAIN: fn($crate::Guest) = $main;
            MAIN(guest)
        }
    };
}
