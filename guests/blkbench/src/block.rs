// SPDX-License-Identifier: MIT OR Apache-2.0
//! The content of the blocks that `verify` writes and `check` reads.
//!
//! A block consists of 64-bit words: a magic number, the block's number, its place on the disk, the
//! run, a checksum of the other words, and words that follow from these.

/// The words before the filling.
const HEAD: usize = 5;

/// The index of the checksum.
const SUM: usize = 4;

const MAGIC: u64 = u64::from_le_bytes(*b"blkbench");

/// Odd, so that it has an inverse modulo each power of two: blocks with different numbers have
/// different places until all places have been used.
const STRIDE: u64 = 40503;

/// What a block says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Counts the writes of all runs.
    pub number: u64,
    /// Its place on the disk, in blocks.
    pub place: u64,
    /// The run that wrote it.
    pub run: u64,
}

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The block was never written.
    Empty,
    /// The checksum, the magic number or the filling is wrong.
    Torn,
}

/// Returns the place of a block on a disk with `places` places, a power of two.
#[must_use]
pub fn place(number: u64, places: u64) -> u64 {
    number.wrapping_mul(STRIDE) & (places - 1)
}

fn mix(state: u64) -> u64 {
    let mixed = (state ^ state >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 32
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word))
}

fn sum(head: [u64; SUM]) -> u64 {
    head.into_iter().fold(1, |sum, word| mix(sum ^ word).wrapping_add(word))
}

/// Writes a block, whose length must be a multiple of 512.
pub fn write(label: Label, block: &mut [u8]) {
    let head = [MAGIC, label.number, label.place, label.run];
    let sum = sum(head);
    let filling = (HEAD..).map(|index| mix(sum.wrapping_add(index as u64)));
    let all = head.into_iter().chain([sum]).chain(filling);
    for (bytes, word) in block.as_chunks_mut().0.iter_mut().zip(all) {
        *bytes = word.to_le_bytes();
    }
}

/// Reads a block.
///
/// # Errors
/// The block is not as [`write()`] writes it.
pub fn read(block: &[u8]) -> Result<Label, Damage> {
    if block.iter().all(|byte| *byte == 0) {
        return Err(Damage::Empty);
    }
    let mut all = words(block);
    let mut head = [0; SUM];
    for word in &mut head {
        *word = all.next().ok_or(Damage::Torn)?;
    }
    let sum = sum(head);
    let filling = (HEAD..).map(|index| mix(sum.wrapping_add(index as u64)));
    let is_whole =
        head[0] == MAGIC && all.zip([sum].into_iter().chain(filling)).all(|(a, b)| a == b);
    let [_, number, place, run] = head;
    if is_whole { Ok(Label { number, place, run }) } else { Err(Damage::Torn) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_used_in_turn() {
        let mut places: std::vec::Vec<_> = (7..7 + 64).map(|number| place(number, 64)).collect();
        places.sort_unstable();
        assert!(places.into_iter().eq(0..64));
        assert_eq!(place(9, 64), place(9 + 64, 64));
    }

    #[test]
    fn blocks_read_back_and_any_change_is_noticed() {
        let label = Label { number: 77, place: 3, run: 5 };
        let mut block = [0; 512];
        assert_eq!(read(&block), Err(Damage::Empty));
        write(label, &mut block);
        assert_eq!(read(&block), Ok(label));
        for byte in 0..block.len() {
            block[byte] ^= 0x10;
            assert_eq!(read(&block), Err(Damage::Torn), "byte {byte}");
            block[byte] ^= 0x10;
        }
        // A half of one block and a half of another.
        let mut other = [0; 512];
        write(Label { number: 78, ..label }, &mut other);
        block[256..].copy_from_slice(&other[256..]);
        assert_eq!(read(&block), Err(Damage::Torn));
    }
}
