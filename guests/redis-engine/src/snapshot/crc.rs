// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checksum of RDB files: CRC-64 with Jones's polynomial, reflected, without inversion.

use alloc::boxed::Box;

const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// The checksum's table. It is computed when there is a disk, because a constant would be part of
/// each image.
pub(crate) struct Crc(Box<[u64; 256]>);

impl Crc {
    pub(crate) fn new() -> Self {
        let mut table = Box::new([0; 256]);
        for (byte, entry) in (0u64..).zip(table.iter_mut()) {
            *entry =
                (0..8).fold(byte, |crc, _| crc >> 1 ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 });
        }
        Self(table)
    }

    /// Returns the checksum of what has the checksum `crc`, followed by `bytes`.
    pub(crate) fn update(&self, crc: u64, bytes: &[u8]) -> u64 {
        bytes
            .iter()
            .fold(crc, |crc, byte| self.0[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ crc >> 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value that Redis's own test of its function expects.
    #[test]
    fn the_checksum_is_that_of_redis() {
        let crc = Crc::new();
        assert_eq!(crc.update(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc.update(crc.update(0, b"1234"), b"56789"), 0xe9c6_d914_c4b8_d9ca);
    }
}
