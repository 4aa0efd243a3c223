//! Memory that a guest can change at any moment.
//!
//! Only [`SharedMemory`] touches it. What was read is a copy: it is checked once and used, and the
//! same word is not read again for the same decision.

/// Bytes in a page, the size of a ring page and of a grant.
pub const PAGE_SIZE: usize = xen::units::PAGE_SIZE;

/// Memory that a guest may change at any moment: the mapped ring pages of one domain, one after
/// the other.
///
/// Offsets of words are multiples of four. An access outside the memory is a mistake of the
/// caller, and panics.
pub trait SharedMemory {
    /// Reads a word with acquire order: reads that follow see what the guest wrote before it wrote
    /// the word.
    fn load(&self, offset: usize) -> u32;

    /// Writes a word with release order: a guest that sees it also sees what was written, and has
    /// nothing left to read from us, before it.
    fn store(&self, offset: usize, value: u32);

    /// Copies bytes out.
    fn read(&self, offset: usize, bytes: &mut [u8]);

    /// Copies bytes in.
    fn write(&self, offset: usize, bytes: &[u8]);
}
