// SPDX-License-Identifier: GPL-3.0-or-later
//! How much of dom0's memory kernels leave free.
//!
//! Linux hands out more memory than there is, and ends processes when it runs out. So a kernel that
//! is small on the disk and large in memory, because it is packed or its file has holes, is refused
//! before that happens.

use std::fs;
use std::io::{self, Read};

/// Bytes of memory that must be free for others while a kernel is read or unpacked.
pub(super) const RESERVE: u64 = 64 << 20;

/// Bytes of a kernel between two looks at the free memory. Kernels of this size or less cost no look.
pub(super) const STEP: usize = 2 << 20;

/// Kernels that may be read and unpacked at the same time: those that look before others have taken
/// what they see. Decoders may take as much as they unpack, for their tables.
const AT_ONCE: u64 = 4;

/// Bytes of memory that must be free to continue.
const NEEDED: u64 = RESERVE + AT_ONCE * 2 * STEP as u64;

/// Returns an error, with the number of free bytes, if too few are free to read or unpack [`STEP`]
/// more.
pub(super) fn check() -> Result<(), u64> {
    check_with(available)
}

fn check_with(available: fn() -> Option<u64>) -> Result<(), u64> {
    available().filter(|available| *available < NEEDED).map_or(Ok(()), Err)
}

/// Unpacked data, which end with an error when too little memory is left.
#[derive(Debug)]
pub(super) struct Room<R> {
    decoder: R,
    /// Bytes until the next look.
    unchecked: usize,
    available: fn() -> Option<u64>,
    lacking: Option<u64>,
}

impl<R> Room<R> {
    pub(super) fn new(decoder: R) -> Self {
        Self::with(decoder, available)
    }

    fn with(decoder: R, available: fn() -> Option<u64>) -> Self {
        Self { decoder, unchecked: STEP, available, lacking: None }
    }

    /// Returns how many bytes were free when too few were. The error itself does not say so.
    pub(super) fn lacking(&self) -> Option<u64> {
        self.lacking
    }

    fn check(&mut self) -> io::Result<()> {
        if let Err(available) = check_with(self.available) {
            self.lacking = Some(available);
            return Err(io::Error::other("dom0 has too little memory left"));
        }
        self.unchecked = STEP;
        Ok(())
    }
}

impl<R: Read> Read for Room<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.unchecked == 0 {
            self.check()?;
        }
        let most = bytes.len().min(self.unchecked);
        let count = self.decoder.read(&mut bytes[..most])?;
        self.unchecked -= count;
        Ok(count)
    }
}

/// Returns how many bytes of memory are free, or can be without swapping (`MemAvailable` of
/// `/proc/meminfo`). `None` if that is not known.
pub(crate) fn available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(most: u64, available: fn() -> Option<u64>) -> (usize, Option<u64>) {
        let mut room = Room::with(io::repeat(1).take(most), available);
        let mut bytes = Vec::new();
        let result = room.read_to_end(&mut bytes);
        assert_eq!(result.is_err(), room.lacking().is_some());
        (bytes.len(), room.lacking())
    }

    #[test]
    fn unpacking_ends_when_too_little_memory_is_left() {
        let most = 3 * STEP as u64;
        assert_eq!(read(most, || Some(NEEDED - 1)), (STEP, Some(NEEDED - 1)));
        assert_eq!(read(most, || Some(NEEDED)), (3 * STEP, None));
        assert_eq!(read(most, || None), (3 * STEP, None));
        assert_eq!(read(most, || Some(1 << 40)), (3 * STEP, None));
        assert_eq!(read(1 << 20, || Some(0)), (1 << 20, None), "a small one needs no look");
    }

    #[test]
    fn the_free_memory_of_this_machine_is_known() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
