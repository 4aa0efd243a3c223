//! A Xen in ordinary memory, for tests that play the guests.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::rc::Rc;

use super::buffers::{GrantCopy, PageBuffers};
use super::memory::{PAGE_SIZE, SharedMemory};
use super::{DomId, GrantRef, Host, LocalPort, RemotePort};

/// Ring pages; clones share them, so that a test can play the guest.
#[derive(Clone, Debug)]
pub(crate) struct FakeMemory(Vec<Rc<RefCell<Vec<u8>>>>);

impl FakeMemory {
    pub(crate) fn new(pages: usize) -> Self {
        Self((0..pages).map(|_| Rc::new(RefCell::new(vec![0; PAGE_SIZE]))).collect())
    }

    /// Returns how many have the first page: the domain's own, tests and mappings.
    pub(crate) fn holders(&self) -> usize {
        Rc::strong_count(&self.0[0])
    }

    fn join(parts: &[Self]) -> Self {
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

pub(crate) const CONSOLE_REF: u32 = 1;
pub(crate) const TX_REF: u32 = 8;
pub(crate) const RX_REF: u32 = 9;
/// First of the pages that a guest grants for frames.
pub(crate) const DATA_REF: u32 = 100;
pub(crate) const DATA_REFS: u32 = 300;

/// Counts what is asked of it; copies between its pages and buffers.
#[derive(Default)]
pub(crate) struct FakeHost {
    /// The pages that a domain, by its number, has granted under a reference.
    pub(crate) pages: HashMap<(u16, u32), FakeMemory>,
    pub(crate) bound: BTreeSet<LocalPort>,
    last_port: u32,
    /// The bind that fails, counted from now.
    pub(crate) fail_bind: Option<u32>,
    pub(crate) notified: Vec<LocalPort>,
    pub(crate) unmasked: Vec<LocalPort>,
    /// Calls of `fetch` and `deliver`.
    pub(crate) copies: usize,
}

impl Host for FakeHost {
    type Memory = FakeMemory;

    fn map(&mut self, domid: DomId, grants: &[GrantRef]) -> io::Result<FakeMemory> {
        let page = |gref: &GrantRef| self.pages.get(&(domid.0, gref.0)).cloned();
        let pages: Option<Vec<FakeMemory>> = grants.iter().map(page).collect();
        Ok(FakeMemory::join(&pages.ok_or_else(|| io::Error::other("no such grant"))?))
    }

    fn bind(&mut self, _: DomId, _: RemotePort) -> io::Result<LocalPort> {
        if let Some(left) = &mut self.fail_bind {
            if *left == 0 {
                return Err(io::Error::other("no such port"));
            }
            *left -= 1;
        }
        self.last_port += 1;
        self.bound.insert(LocalPort(self.last_port));
        Ok(LocalPort(self.last_port))
    }

    fn bind_domain_exception(&mut self) -> io::Result<LocalPort> {
        self.bind(DomId(0), RemotePort(0))
    }

    fn unbind(&mut self, port: LocalPort) {
        assert!(self.bound.remove(&port), "port {port} is not bound");
    }

    fn notify(&mut self, port: LocalPort) {
        assert!(self.bound.contains(&port), "port {port} is not bound");
        self.notified.push(port);
    }

    fn unmask(&mut self, ports: &[LocalPort]) {
        self.unmasked.extend(ports);
    }

    fn fetch(&mut self, buffers: &mut PageBuffers, copies: &mut [GrantCopy]) {
        self.copies += 1;
        for (buffer, copy) in buffers.iter_mut().zip(copies) {
            let page = self.pages.get(&(copy.domid.0, copy.gref.0));
            copy.done = page.is_some();
            if let Some(page) = page {
                page.read(usize::from(copy.offset), &mut buffer[..usize::from(copy.length)]);
            }
        }
    }

    fn deliver(&mut self, buffers: &PageBuffers, copies: &mut [GrantCopy]) {
        self.copies += 1;
        for copy in copies {
            let page = self.pages.get(&(copy.domid.0, copy.gref.0));
            copy.done = page.is_some();
            if let Some(page) = page {
                page.write(0, &buffers.get(copy.buffer)[..usize::from(copy.length)]);
            }
        }
    }
}

impl FakeHost {
    /// Has a guest grant its rings and data pages.
    pub(crate) fn guest(&mut self, domid: u16) {
        self.guest_rings(domid);
        for gref in DATA_REF..DATA_REF + DATA_REFS {
            self.pages.insert((domid, gref), FakeMemory::new(1));
        }
    }

    /// Has a guest grant its rings.
    pub(crate) fn guest_rings(&mut self, domid: u16) {
        for gref in [CONSOLE_REF, TX_REF, RX_REF] {
            self.pages.insert((domid, gref), FakeMemory::new(1));
        }
    }
}
