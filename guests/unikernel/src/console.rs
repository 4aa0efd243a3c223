// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console: a ring of bytes to dom0 (`public/io/console.h`).

use core::fmt::{self, Write};
use core::time::Duration;

use noxs::Console;
use xen_ring::{ConsoleOutput, Producer, RawPage, SharedPage};

use crate::clock::Instant;
use crate::cpu::Local;
use crate::device_page::ring_page;
use crate::event::Port;
use crate::hypercall;

/// How long a print waits for room before it drops the rest.
const ROOM_TIMEOUT: Duration = Duration::from_millis(100);

static CONSOLE: Local<Option<Ring>> = Local::new(None);

#[derive(Debug)]
struct Ring {
    page: RawPage,
    output: Producer<ConsoleOutput>,
    port: Port,
    /// The reader took nothing for [`ROOM_TIMEOUT`]: do not wait for it until it reads again.
    stalled: bool,
}

/// Starts using the console.
///
/// # Panics
/// If the ring is not in the guest's memory, which is an error of dom0.
pub(crate) fn initialise(console: &Console) {
    let page = ring_page(&console.backend.rings[0]);
    let output = Producer::attach(&page, 0);
    let port = Port(console.backend.port);
    *CONSOLE.borrow() = Some(Ring { page, output, port, stalled: false });
}

impl Ring {
    /// Writes as many bytes as there is room for, and returns how many.
    fn put(&mut self, bytes: &[u8]) -> usize {
        // An impossible index of the reader counts as no room.
        self.output.put(&self.page, bytes).unwrap_or(0)
    }

    /// Waits until the reader has made room, for [`ROOM_TIMEOUT`] at most. Returns whether it has.
    ///
    /// This waits only for the console's port, because a panic must not serve power requests. Other
    /// devices may share the port, so the event is set again afterwards.
    fn wait_for_room(&self) -> bool {
        let has_room = self.wait_until_read();
        self.port.put_back();
        has_room
    }

    fn wait_until_read(&self) -> bool {
        let deadline = Instant::now() + ROOM_TIMEOUT;
        self.port.notify();
        while self.is_full() {
            self.port.take();
            // Room from before the event was taken is seen here; room from later wakes `poll`.
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

    /// Returns whether the ring has no room.
    fn is_full(&self) -> bool {
        // An impossible index of the reader counts as no room.
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
    // If a panic interrupts a print, its message goes to Xen's console only.
    let Some(mut slot) = CONSOLE.try_borrow() else { return };
    if let Some(ring) = slot.as_mut() {
        // `write_str` does not fail, and an error of a value's formatting cannot be reported.
        let _ = ring.write_fmt(arguments);
        // The bytes and the index are visible before the reader is notified.
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
