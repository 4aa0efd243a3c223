// SPDX-License-Identifier: GPL-3.0-or-later
//! Xen in ordinary memory, for tests that act as the guests.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use xen::gntdev::CopyLocal;
use xen_ring::SharedPage;
pub(crate) use xen_ring::testing::FakePage;

use super::buffers::{Buffers, GrantCopy};
use super::file_io::{FileIo, FinishedIo, IoKind, IoPart};
use super::{CopyOp, DomId, GrantRef, Host, LocalPort, RemotePort, serving};

pub(crate) const CONSOLE_REF: u32 = 1;
pub(crate) const TX_REF: u32 = 8;
pub(crate) const RX_REF: u32 = 9;
/// Grant reference of the ring of the first disk. Those of others follow.
pub(crate) const DISK_REF: u32 = 10;
/// Grant reference of the first page that a guest grants for frames.
pub(crate) const DATA_REF: u32 = 100;
pub(crate) const DATA_REFS: u32 = 300;

/// Counts and records calls, and copies between its pages and buffers.
#[derive(Default)]
pub(crate) struct FakeHost {
    /// The granted pages, by domid and grant reference.
    pub(crate) pages: HashMap<(u16, u32), FakePage>,
    pub(crate) bound: BTreeSet<LocalPort>,
    /// How many calls of `bind` succeed before one fails.
    pub(crate) fail_bind: Option<u32>,
    pub(crate) notified: Vec<LocalPort>,
    /// The domain that was being served at each notification.
    pub(crate) served: Vec<Option<[u8; 16]>>,
    pub(crate) unmasked: Vec<LocalPort>,
    /// Number of calls of `fetch` and `deliver`.
    pub(crate) copies: usize,
    /// Number of copies that these calls have made.
    pub(crate) copied: usize,
    /// Operations on files that are not carried out yet, in their order.
    pub(crate) begun: Vec<FileIo>,
    /// Whether operations stay in `begun` until a test finishes them.
    pub(crate) holds_io: bool,
    /// Results that were not taken yet.
    pub(crate) finished: Vec<FinishedIo>,
    /// What reads and writes fail with, instead of being carried out.
    pub(crate) fail_io: Option<i32>,
    /// The kinds of all operations that were begun.
    pub(crate) kinds: Vec<IoKind>,
}

impl Host for FakeHost {
    type Memory = FakePage;

    fn map(&mut self, domid: DomId, grants: &[GrantRef]) -> io::Result<FakePage> {
        let page = |gref: &GrantRef| self.pages.get(&(domid.0, gref.0)).cloned();
        let pages: Option<Vec<FakePage>> = grants.iter().map(page).collect();
        Ok(FakePage::join(&pages.ok_or_else(|| io::Error::other("no such grant"))?))
    }

    fn map_frames(&mut self, domid: DomId, grants: &[GrantRef], _: bool) -> io::Result<FakePage> {
        self.map(domid, grants)
    }

    fn bind(&mut self, _: DomId, _: RemotePort) -> io::Result<LocalPort> {
        if let Some(left) = &mut self.fail_bind {
            if *left == 0 {
                return Err(io::Error::other("no such port"));
            }
            *left -= 1;
        }
        // Xen assigns the lowest free port, so a released one goes to the next binder.
        let below = (1..).zip(&self.bound).take_while(|(number, port)| port.0 == *number);
        let port = LocalPort(below.map(|(number, _)| number).last().unwrap_or(0) + 1);
        self.bound.insert(port);
        Ok(port)
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
        self.served.push(serving::handle());
    }

    fn unmask(&mut self, ports: &[LocalPort]) {
        self.unmasked.extend(ports);
    }

    fn fetch(&mut self, buffers: &mut Buffers, copies: &mut [GrantCopy]) {
        self.copies += 1;
        self.copied += copies.len();
        let mut end = 0;
        for copy in copies {
            assert!(copy.at >= end, "the copies are not in order");
            end = copy.local().end;
            let page = self.pages.get(&(copy.domid.0, copy.gref.0));
            copy.done = page.is_some();
            if let Some(page) = page {
                page.read(usize::from(copy.offset), buffers.get_mut(copy.local()));
            }
        }
    }

    fn deliver(&mut self, buffers: &Buffers, copies: &mut [GrantCopy]) {
        self.copies += 1;
        self.copied += copies.len();
        for copy in copies {
            let page = self.pages.get(&(copy.domid.0, copy.gref.0));
            copy.done = page.is_some();
            if let Some(page) = page {
                page.write(usize::from(copy.offset), buffers.get(copy.local()));
            }
        }
    }

    fn copy(&mut self, copies: &mut [CopyOp<'_>]) {
        self.copied += copies.len();
        for copy in copies {
            let page = self.pages.get(&(copy.domid.0, copy.reference.0));
            copy.failed = if page.is_some() { None } else { Some(-3) };
            let (Some(page), offset) = (page, usize::from(copy.offset)) else { continue };
            match &mut copy.local {
                CopyLocal::From(from) => page.write(offset, from),
                CopyLocal::To(to) => page.read(offset, to),
            }
        }
    }

    fn begin_io(&mut self, io: FileIo) {
        self.kinds.push(io.kind);
        self.begun.push(io);
    }

    fn submit_io(&mut self) -> bool {
        while !self.holds_io && !self.begun.is_empty() {
            self.finish_io(0);
        }
        true
    }

    fn finished_io(&mut self, finished: &mut Vec<FinishedIo>) {
        finished.append(&mut self.finished);
    }
}

impl FakeHost {
    /// Adds the rings and data pages of a guest.
    pub(crate) fn guest(&mut self, domid: u16) {
        self.guest_rings(domid);
        for gref in DATA_REF..DATA_REF + DATA_REFS {
            self.pages.insert((domid, gref), FakePage::new(1));
        }
    }

    /// Carries out an operation that was begun.
    pub(crate) fn finish_io(&mut self, index: usize) {
        let FileIo { key, file, kind, offset, mut parts } = self.begun.remove(index);
        let result = match self.fail_io {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => carry_out(&file, kind, offset, &mut parts),
        };
        self.finished.push(FinishedIo { key, result, parts });
    }

    /// Adds the rings of a guest.
    pub(crate) fn guest_rings(&mut self, domid: u16) {
        for gref in [CONSOLE_REF, TX_REF, RX_REF, DISK_REF, DISK_REF + 1] {
            self.pages.insert((domid, gref), FakePage::new(1));
        }
    }
}

fn carry_out(file: &File, kind: IoKind, mut offset: u64, parts: &mut [IoPart]) -> io::Result<()> {
    for part in parts {
        match kind {
            IoKind::Read => file.read_exact_at(part.data_mut(), offset)?,
            IoKind::Write => file.write_all_at(part.data(), offset)?,
            IoKind::Sync | IoKind::Discard { .. } => {}
        }
        offset += u64::from(part.length);
    }
    if let IoKind::Discard { length } = kind {
        file.write_all_at(&vec![0; usize::try_from(length).unwrap()], offset)?;
    }
    Ok(())
}
