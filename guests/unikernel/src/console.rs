//! The console: a ring of bytes to dom0 (`public/io/console.h`).
//!
//! `unsafe`, because it takes the ring's page by its address.
#![allow(unsafe_code)]

use core::fmt::{self, Write};
use core::time::Duration;

use noxs::Console;
use xen_ring::{ConsoleOutput, Producer, RawPage, SharedPage};

use crate::clock::Instant;
use crate::cpu::Local;
use crate::event::Port;
use crate::hypercall;
use crate::layout::{MAPPED, PAGE_SIZE_U64, pointer};

/// How long a print waits for room before the rest is dropped.
const PATIENCE: Duration = Duration::from_millis(100);

static CONSOLE: Local<Option<Ring>> = Local::new(None);

#[derive(Debug)]
struct Ring {
    page: RawPage,
    output: Producer<ConsoleOutput>,
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
    // SAFETY: the address is that of a page, not 0 and below the end of what is mapped for good. It
    // comes from dom0 or Xen, which made the page for this purpose, outside of what the memory map
    // lists as usable, so no Rust object lies there.
    let page = unsafe { RawPage::new(pointer(address)) };
    let output = Producer::attach(&page, 0);
    let port = Port(console.backend.port);
    *CONSOLE.borrow() = Some(Ring { page, output, port, stalled: false });
}

impl Ring {
    /// Puts as much as there is room for into the ring and returns how much.
    fn put(&mut self, bytes: &[u8]) -> usize {
        // A reader with an impossible index has made no room.
        self.output.put(&self.page, bytes).unwrap_or(0)
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
        while self.is_full() {
            self.port.take();
            // What came before the event was taken is seen here, what comes after it wakes `poll`.
            if !self.is_full() {
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

    /// Returns whether nothing can be put into the ring now.
    fn is_full(&self) -> bool {
        // A reader with an impossible index has made no room.
        self.output.room(&self.page).unwrap_or(0) == 0
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
        ring.page.fence();
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
