// SPDX-License-Identifier: MIT OR Apache-2.0
//! For tests: pages in ordinary memory, and a front end that checks nothing.

use std::cell::RefCell;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use xen_abi::PAGE_SIZE;

use crate::page::SharedPage;

/// Ring pages in ordinary memory. Clones share it, so that a test can play the other end.
#[derive(Clone, Debug)]
pub struct FakePage(Vec<Rc<RefCell<Vec<u8>>>>);

impl FakePage {
    /// Returns `pages` pages of zeros, one after the other.
    #[must_use]
    pub fn new(pages: usize) -> Self {
        Self((0..pages).map(|_| Rc::new(RefCell::new(vec![0; PAGE_SIZE]))).collect())
    }

    /// Returns the pages of all parts, one after the other.
    #[must_use]
    pub fn join(parts: &[Self]) -> Self {
        Self(parts.iter().flat_map(|part| part.0.iter().cloned()).collect())
    }

    /// Returns how many clones and joined memories share the first page, this one included.
    #[must_use]
    pub fn holders(&self) -> usize {
        Rc::strong_count(&self.0[0])
    }
}

impl SharedPage for FakePage {
    fn load(&self, offset: usize) -> u32 {
        assert!(offset.is_multiple_of(4), "word at {offset}");
        let mut word = [0; 4];
        self.read(offset, &mut word);
        u32::from_le_bytes(word)
    }

    fn store(&self, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(4), "word at {offset}");
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

/// The front end of a ring whose page begins the memory, without checks and without a state of its
/// own: a test may write any index in between.
pub mod frontend {
    use xen_abi::io::ring::{REQ_EVENT, REQ_PROD, RSP_PROD, wants_event};

    use crate::page::{SharedPage, read_slot, write_slot};
    use crate::protocol::Protocol;

    /// Writes a request into the next slot and moves the index.
    pub fn submit<P: Protocol>(page: &impl SharedPage, request: &P::Request) {
        let produced = producer(page);
        write_slot(page, P::slot(produced), request);
        set_producer(page, produced.wrapping_add(1));
    }

    /// Sets the request index.
    pub fn set_producer(page: &impl SharedPage, index: u32) {
        page.store(REQ_PROD, index);
    }

    /// Returns the request index.
    #[must_use]
    pub fn producer(page: &impl SharedPage) -> u32 {
        page.load(REQ_PROD)
    }

    /// Returns whether the back end asked for an event with one of the requests since `old`.
    #[must_use]
    pub fn asked_for_event(page: &impl SharedPage, old: u32) -> bool {
        wants_event(old, producer(page), page.load(REQ_EVENT))
    }

    /// Returns the response index.
    #[must_use]
    pub fn responses(page: &impl SharedPage) -> u32 {
        page.load(RSP_PROD)
    }

    /// Returns the response with an index.
    #[must_use]
    pub fn response<P: Protocol>(page: &impl SharedPage, index: u32) -> P::Response {
        read_slot(page, P::slot(index))
    }
}
