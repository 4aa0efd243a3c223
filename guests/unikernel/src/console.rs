//! The console: a ring of bytes to dom0 (`public/io/console.h`).
//!
//! `unsafe`, because the other end reads and writes the ring while the guest does.
#![allow(unsafe_code)]

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU32, Ordering, fence};
use core::time::Duration;

use noxs::Console;

use crate::clock::Instant;
use crate::cpu::Local;
use crate::event::Port;
use crate::hypercall;
use crate::layout::{MAPPED, PAGE_SIZE_U64, pointer};

/// `struct xencons_interface`: input ring, output ring, and their four indices.
const OUT: usize = 1024;
const OUT_SIZE: u32 = 2048;
const OUT_CONS: usize = 3072 + 8;
const OUT_PROD: usize = 3072 + 12;

/// How long a print waits for room before the rest is dropped.
const PATIENCE: Duration = Duration::from_millis(100);

static CONSOLE: Local<Option<Ring>> = Local::new(None);

#[derive(Debug)]
struct Ring {
    page: *mut u8,
    port: Port,
    /// The reader took nothing for [`PATIENCE`]: nobody waits for it until it moves again.
    stalled: bool,
}

/// Starts using the console.
///
/// # Panics
/// If the ring is not in the guest's memory: dom0's error.
pub(crate) fn initialise(console: &Console) {
    let address = console.backend.rings[0].gfn.saturating_mul(PAGE_SIZE_U64);
    assert!(address != 0 && address < MAPPED, "the console's ring is at {address:#x}");
    let page = pointer(address);
    *CONSOLE.borrow() = Some(Ring { page, port: Port(console.backend.port), stalled: false });
}

impl Ring {
    fn index(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the page is dom0's ring page, mapped for good, and no Rust object lies in it.
        // Both offsets used are aligned and inside. Both ends access the indices atomically.
        unsafe { AtomicU32::from_ptr(self.page.add(offset).cast()) }
    }

    /// Puts as much as there is room for into the ring and returns how much.
    fn put(&self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room() as usize);
        let mut producer = self.index(OUT_PROD).load(Ordering::Relaxed);
        for byte in &bytes[..count] {
            let offset = OUT + (producer % OUT_SIZE) as usize;
            // SAFETY: the offset lies in the output ring, which only this end writes.
            unsafe { self.page.add(offset).write_volatile(*byte) };
            producer = producer.wrapping_add(1);
        }
        // The bytes are there before the index says so.
        self.index(OUT_PROD).store(producer, Ordering::Release);
        count
    }

    /// Waits until the reader has made room or [`PATIENCE`] is over; tells whether it has.
    ///
    /// Only the console's port is waited for: a panic must not end up in a power request. Other
    /// devices may have the same port, so an event that was taken here is given back.
    fn wait_for_room(&self) -> bool {
        let made = self.wait_until_taken();
        self.port.put_back();
        made
    }

    fn wait_until_taken(&self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        self.port.notify();
        while self.room() == 0 {
            self.port.take();
            // What came before the event was taken is seen here, what comes after it wakes `poll`.
            if self.room() != 0 {
                break;
            }
            if Instant::now() >= deadline
                || hypercall::poll(&[self.port.0], deadline.as_nanos()).is_err()
            {
                return false;
            }
        }
        true
    }

    /// How many bytes can be put into the ring now.
    fn room(&self) -> u32 {
        // The reader has taken the bytes before its index says so: acquire, so that they are not
        // overwritten before.
        let consumer = self.index(OUT_CONS).load(Ordering::Acquire);
        let producer = self.index(OUT_PROD).load(Ordering::Relaxed);
        // An impossible index counts as a full ring.
        OUT_SIZE.saturating_sub(producer.wrapping_sub(consumer))
    }
}

impl Write for Ring {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut bytes = text.as_bytes();
        loop {
            bytes = &bytes[self.put(bytes)..];
            if bytes.is_empty() {
                self.stalled = false;
                return Ok(());
            }
            if self.stalled || !self.wait_for_room() {
                self.stalled = true;
                return Ok(());
            }
        }
    }
}

/// Prints to the console, if there is one. Use [`println!`](crate::println).
pub fn print(arguments: fmt::Arguments<'_>) {
    // A panic may interrupt a print; then its own text goes to Xen's console only.
    let Some(mut slot) = CONSOLE.try_borrow() else { return };
    if let Some(ring) = slot.as_mut() {
        // `write_str` does not fail; an error of a value's own formatting has no better place.
        let _ = ring.write_fmt(arguments);
        // The bytes and the index are there before the reader is woken.
        fence(Ordering::SeqCst);
        ring.port.notify();
    }
}

/// Prints a line to the console: the arguments are those of [`format!`](core::format_args).
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}
