//! What the backends need of memory that a guest can change at any moment.
//!
//! Only [`SharedMemory`] touches it. What was read is a copy: it is checked once and used, and the
//! same word is not read again for the same decision.

/// Bytes in a page, the size of a ring page and of a grant.
pub const PAGE_SIZE: usize = 4096;

/// Memory that a guest may change at any moment: the mapped ring pages of one domain, one after
/// the other.
///
/// Offsets of words are multiples of four. An access outside the memory is a fault of the
/// caller's and panics.
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

#[cfg(test)]
pub(crate) mod fake {
    //! Ring pages in ordinary memory, for tests; clones share it, so that a test can play the guest.

    use std::cell::RefCell;
    use std::rc::Rc;

    use super::{PAGE_SIZE, SharedMemory};

    #[derive(Clone, Debug)]
    pub(crate) struct FakeMemory(Vec<Rc<RefCell<Vec<u8>>>>);

    impl FakeMemory {
        pub(crate) fn new(pages: usize) -> Self {
            Self((0..pages).map(|_| Rc::new(RefCell::new(vec![0; PAGE_SIZE]))).collect())
        }

        pub(crate) fn join(parts: &[Self]) -> Self {
            Self(parts.iter().flat_map(|part| part.0.iter().cloned()).collect())
        }
    }

    impl SharedMemory for FakeMemory {
        fn load(&self, offset: usize) -> u32 {
            assert!(offset.is_multiple_of(4));
            let mut word = [0; 4];
            self.read(offset, &mut word);
            u32::from_le_bytes(word)
        }

        fn store(&self, offset: usize, value: u32) {
            assert!(offset.is_multiple_of(4));
            self.write(offset, &value.to_le_bytes());
        }

        fn read(&self, offset: usize, bytes: &mut [u8]) {
            let page = self.0[offset / PAGE_SIZE].borrow();
            bytes.copy_from_slice(&page[offset % PAGE_SIZE..][..bytes.len()]);
        }

        fn write(&self, offset: usize, bytes: &[u8]) {
            let mut page = self.0[offset / PAGE_SIZE].borrow_mut();
            page[offset % PAGE_SIZE..][..bytes.len()].copy_from_slice(bytes);
        }
    }
}
