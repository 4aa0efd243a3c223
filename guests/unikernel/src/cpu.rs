// SPDX-License-Identifier: MIT OR Apache-2.0
//! What follows from having one vCPU without interrupts, and the few instructions that need
//! assembly.
//!
//! `unsafe`: [`Local`] implements [`Sync`], and the instructions.
#![allow(unsafe_code)]

use core::arch::asm;
use core::cell::{RefCell, RefMut};

/// A value that all code on the guest's only vCPU shares.
#[derive(Debug)]
pub(crate) struct Local<T>(RefCell<T>);

// SAFETY: the value must not be used by two threads at the same time. A guest has one vCPU and runs
// with interrupts off. The only code that interrupts other code is an exception handler: it does
// not return there, and it uses `try_borrow`.
unsafe impl<T> Sync for Local<T> {}

impl<T> Local<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// Borrows the value.
    ///
    /// # Panics
    /// If it is borrowed already, which is a bug of the runtime.
    pub(crate) fn borrow(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }

    /// Borrows the value, unless it is borrowed already. For panics, which may come at any moment.
    pub(crate) fn try_borrow(&self) -> Option<RefMut<'_, T>> {
        self.0.try_borrow_mut().ok()
    }
}

/// Returns the time stamp counter, read after all earlier instructions.
pub(crate) fn time_stamp() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: every x86-64 CPU has both instructions. They access no memory and change only eax and
    // edx, which are declared. They do not fault, because Xen never sets CR4.TSD.
    unsafe {
        asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nomem, nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Prints to Xen's console, which needs no device. Xen shows complete lines, and only if it was
/// booted with `guest_loglvl=all`.
pub(crate) fn xen_debug_print(text: &str) {
    for byte in text.bytes() {
        // SAFETY: I/O port 0xe9 is Xen's debug console for HVM and PVH guests. A write to it
        // accesses no memory of the guest and changes no register.
        unsafe {
            asm!("out 0xe9, al", in("al") byte, options(nomem, nostack, preserves_flags));
        }
    }
}

/// Stops the vCPU for good, if Xen has not shut the domain down on request.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: with interrupts off, `hlt` stops the only vCPU for good; it accesses no memory.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
