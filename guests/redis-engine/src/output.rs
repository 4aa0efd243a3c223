// SPDX-License-Identifier: MIT OR Apache-2.0
//! Encodes replies for the wire.

use alloc::vec::Vec;
use core::fmt;

use crate::error::Refused;
use crate::memory::{Memory, fits_in_transit, room};
use crate::number::{print_double, print_integer, saturating_i64};

/// The longest reply, in bytes, that a command may write without having made room for it.
const SHORT_REPLY: usize = 1024;

/// The most bytes that a part of a reply takes in addition to its own: its type, its length, two
/// line ends.
const FRAMING: usize = 24;

/// The capacity, in bytes, that is kept for the next replies when all are sent.
const KEPT: usize = 4096;

/// Unsent replies, in RESP2 or RESP3.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// Set when there was no room for a reply. Everything written is then dropped until `undo`.
    full: bool,
    resp3: bool,
}

impl Output {
    /// Returns the bytes to send.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Removes the first `count` bytes, which have been sent.
    pub fn sent(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        if self.bytes.is_empty() {
            // Free the memory of a large reply.
            self.bytes.shrink_to(KEPT);
        }
    }

    /// Returns the number of unsent bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether everything is sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn set_resp3(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    /// Removes everything after the first `length` bytes, and accepts replies again after there was
    /// no room for one.
    pub(crate) fn undo(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.full = false;
    }

    /// Makes room, so that writing `bytes` bytes in `parts` parts cannot fail.
    pub(crate) fn reserve(
        &mut self,
        memory: &dyn Memory,
        bytes: usize,
        parts: usize,
    ) -> Result<(), Refused> {
        let bytes = bytes.saturating_add(parts.saturating_mul(FRAMING));
        if room(&mut self.bytes, bytes, |bytes| fits_in_transit(memory, bytes)) {
            Ok(())
        } else {
            Err(Refused::OutOfMemory)
        }
    }

    /// Makes room for a short reply; returns false if there is no memory.
    pub(crate) fn room_for_short(&mut self, memory: &dyn Memory) -> bool {
        room(&mut self.bytes, SHORT_REPLY, |bytes| fits_in_transit(memory, bytes))
    }

    /// Returns whether there was no room for a reply.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Appends bytes if there is room. Never allocates, because memory must have been checked.
    fn put(&mut self, bytes: &[u8]) {
        self.full |= self.bytes.capacity() - self.bytes.len() < bytes.len();
        if !self.full {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn line(&mut self, kind: u8, number: i64) {
        let mut digits = [0; 20];
        let digits = print_integer(number, &mut digits);
        // Append in one step, because long replies consist of many such lines.
        let mut line = [0; 23];
        let end = 1 + digits.len();
        line[0] = kind;
        line[1..end].copy_from_slice(digits);
        line[end..end + 2].copy_from_slice(b"\r\n");
        self.put(&line[..end + 2]);
    }

    fn length(&mut self, kind: u8, length: usize) {
        self.line(kind, saturating_i64(length as u64));
    }

    pub(crate) fn simple(&mut self, text: &str) {
        self.put(b"+");
        self.put(text.as_bytes());
        self.put(b"\r\n");
    }

    pub(crate) fn ok(&mut self) {
        self.put(b"+OK\r\n");
    }

    pub(crate) fn error(&mut self, text: &str) {
        self.error_of([text.as_bytes()]);
    }

    /// Writes an error whose text is in several parts. Line breaks in it become spaces, because they
    /// would end the error early.
    pub(crate) fn error_of<const N: usize>(&mut self, text: [&[u8]; N]) {
        self.put(b"-");
        for part in text {
            let mut lines = part.split(|byte| matches!(byte, b'\r' | b'\n'));
            self.put(lines.next().unwrap_or_default());
            for line in lines {
                self.put(b" ");
                self.put(line);
            }
        }
        self.put(b"\r\n");
    }

    pub(crate) fn integer(&mut self, number: i64) {
        self.line(b':', number);
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.length(b':', count);
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.integer(i64::from(flag));
    }

    pub(crate) fn bulk(&mut self, bytes: &[u8]) {
        self.length(b'$', bytes.len());
        self.put(bytes);
        self.put(b"\r\n");
    }

    /// Writes a bulk string, or a null.
    pub(crate) fn maybe_bulk(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    pub(crate) fn null(&mut self) {
        self.put(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// Writes the null that stands for an array.
    pub(crate) fn null_array(&mut self) {
        self.put(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    pub(crate) fn array(&mut self, length: usize) {
        self.length(b'*', length);
    }

    /// Starts a map with this many pairs; in RESP2 an array with twice as many items.
    pub(crate) fn map(&mut self, pairs: usize) {
        if self.resp3 { self.length(b'%', pairs) } else { self.length(b'*', 2 * pairs) }
    }

    /// Starts a set; in RESP2 an array.
    pub(crate) fn set(&mut self, length: usize) {
        self.length(if self.resp3 { b'~' } else { b'*' }, length);
    }

    /// Writes a double; in RESP2 a bulk string.
    pub(crate) fn double(&mut self, value: f64) {
        let text = print_double(value);
        if self.resp3 {
            self.put(b",");
            self.put(text.as_bytes());
            self.put(b"\r\n");
        } else {
            self.bulk(text.as_bytes());
        }
    }

    /// Writes a verbatim string (`txt`); in RESP2 a bulk string.
    pub(crate) fn verbatim(&mut self, text: &str) {
        self.verbatim_of(text.len(), |out| out.put(text.as_bytes()));
    }

    /// Writes a verbatim string of this length in bytes, whose text `write` writes.
    pub(crate) fn verbatim_of(&mut self, length: usize, write: impl FnOnce(&mut Self)) {
        if self.resp3 {
            self.length(b'=', length + 4);
            self.put(b"txt:");
        } else {
            self.length(b'$', length);
        }
        write(self);
        self.put(b"\r\n");
    }

    /// Returns whether replies are in RESP3.
    pub(crate) fn is_resp3(&self) -> bool {
        self.resp3
    }
}

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}
