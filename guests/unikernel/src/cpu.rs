//! One vCPU without interrupts: what that makes simple, and the few instructions Rust has no words
//! for.
//!
//! `unsafe`, because [`Local`] claims to be [`Sync`], and for the instructions.
#![allow(unsafe_code)]

use core::arch::asm;
use core::cell::{RefCell, RefMut};

/// A value that everything on the guest's only vCPU shares.
#[derive(Debug)]
pub(crate) struct Local<T>(RefCell<T>);

// SAFETY: a guest has one vCPU and runs with interrupts off. The only other code that ever runs is
// an exception handler, which does not return to what it interrupted, and uses `try_borrow`.
unsafe impl<T> Sync for Local<T> {}

impl<T> Local<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// Borrows the value.
    ///
    /// # Panics
    /// If it is borrowed already: an error in the runtime.
    pub(crate) fn borrow(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }

    /// Borrows the value unless it is borrowed already: for panics, which come at any moment.
    pub(crate) fn try_borrow(&self) -> Option<RefMut<'_, T>> {
        self.0.try_borrow_mut().ok()
    }
}

/// The time stamp counter, read after all that comes before it.
pub(crate) fn time_stamp() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: both instructions exist on every x86-64 CPU and touch nothing but the registers
    // named; Xen never sets CR4.TSD.
    unsafe {
        asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nomem, nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Prints to Xen's own console, which needs no device. Xen shows a line when it is complete, and
/// only if it was started with `guest_loglvl=all`.
pub(crate) fn xen_debug_print(text: &str) {
    for byte in text.bytes() {
        // SAFETY: port 0xe9 is Xen's debug console for HVM and PVH guests; a write to it has no
        // other effect.
        unsafe {
            asm!("out 0xe9, al", in("al") byte, options(nomem, nostack, preserves_flags));
        }
    }
}

/// Never returns; used when Xen did not end the domain as it was asked to.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: with interrupts off, `hlt` stops the only vCPU for good and touches no memory.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
