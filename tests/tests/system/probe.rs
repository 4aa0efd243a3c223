// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests the calls of crate `xen` against a real Xen: applies each one to an empty PVH domain, and
//! reads back its effect.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, poll};
use system_tests::Bed;
use xen::domain::CreateDomain;
use xen::event::PortStatus;
use xen::evtchn::EventChannels;
use xen::foreign::{ForeignMapping, GrantEntry, seed_grants};
use xen::gntdev::{CopyOp, GrantDevice};
use xen::hvm::{MemType, Param};
use xen::hvm_context::PvhVcpu;
use xen::memory::{MemoryKind, MemoryRange};
use xen::units::{DomId, DomainHandle, Gfn, GrantRef, KiB, Pages};
use xen::{Error, Xen};

const HANDLE: DomainHandle = DomainHandle([0x42; 16]);
/// Two pages of 2 MiB, and four pages of 4 KiB behind them.
const MEMORY: KiB = KiB(4096 + 16);
const SPECIALS: Gfn = Gfn(1024);
const LAST_PAGE: Gfn = Gfn(1027);
const GRANT: GrantRef = GrantRef(8);
const PAGE: usize = 4096;
/// How many pages may still be missing when a domain is destroyed: Xen frees its own pages for it a
/// little later.
const LATE_PAGES: u64 = 64;
/// How long an event may take to arrive, in milliseconds.
const EVENT_TIMEOUT_MS: u16 = 10_000;

/// A domain that is destroyed at the end of its test.
struct Domain {
    xen: Xen,
    domid: DomId,
}

impl Domain {
    /// Creates a domain without a vCPU and without memory.
    fn create() -> Self {
        let xen = Xen::open().expect("dom0 can open Xen");
        let config = CreateDomain {
            max_grant_frames: 4,
            max_maptrack_frames: 0,
            ..CreateDomain::pvh(HANDLE, 1)
        };
        let domid = xen.create_domain(&config).expect("Xen creates a domain");
        Self { xen, domid }
    }

    /// Creates a domain with one vCPU and all its memory.
    fn with_memory() -> Self {
        let domain = Self::create();
        let Self { xen, domid } = &domain;
        let pool = Pages(32).to_bytes();
        xen.max_vcpus(*domid, 1).expect("a vCPU");
        xen.set_max_mem(*domid, MEMORY).expect("a limit");
        xen.set_paging_mempool(*domid, pool).expect("a paging pool");
        assert_eq!(xen.paging_mempool(*domid).expect("its size"), pool);
        xen.populate_range(*domid, Gfn(0), 2, 9).expect("two pages of 2 MiB");
        xen.populate_range(*domid, SPECIALS, 4, 0).expect("four pages of 4 KiB");
        domain
    }

    fn map(&self, first: Gfn, pages: u64) -> ForeignMapping {
        ForeignMapping::map_range(&self.xen, self.domid, first, Pages(pages)).expect("a mapping")
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        let destroyed = self.xen.destroy(self.domid);
        if !std::thread::panicking() {
            destroyed.expect("Xen destroys the domain");
        }
    }
}

#[test]
fn without_a_vcpu_a_domain_has_neither_ports_nor_cpu_state() {
    let _bed = Bed::new();
    let domain = Domain::create();
    let port = domain.xen.evtchn_alloc_unbound(domain.domid, DomId::DOM0);
    assert!(matches!(port, Err(Error::Refused { .. })), "{port:?}");
    let state = domain.xen.hvm_context(domain.domid);
    assert!(matches!(state, Err(Error::Refused { .. })), "{state:?}");
}

#[test]
fn a_destroyed_domain_is_gone_and_its_memory_is_free() {
    let bed = Bed::new();
    let before = bed.free_pages();
    let domain = Domain::with_memory();
    assert!(before - bed.free_pages() >= MEMORY.0 / 4, "the domain has its memory");
    let domid = domain.domid;
    drop(domain);
    let xen = Xen::open().expect("dom0 can open Xen");
    assert_eq!(xen.domain_info(domid).expect("Xen answers"), None);
    assert!(bed.free_pages() + LATE_PAGES >= before);
}

#[test]
fn xen_describes_the_domain() {
    let _bed = Bed::new();
    let Domain { xen, domid } = &Domain::with_memory();
    let info = xen.domain_info(*domid).expect("Xen answers").expect("the domain is there");
    assert_eq!((info.handle, info.tot_pages), (HANDLE, Pages(MEMORY.0 / 4)));
    assert!(info.state.paused);
    let all = xen.domain_list(DomId::DOM0).expect("a list");
    assert_eq!(all.last(), Some(&info));
    assert_eq!(xen.domain_info(DomId(domid.0 + 1)).expect("Xen answers"), None);
}

#[test]
fn memory_above_the_limit_is_refused() {
    let _bed = Bed::new();
    let Domain { xen, domid } = &Domain::with_memory();
    let more = xen.populate_range(*domid, Gfn(1028), 2, 0);
    assert!(matches!(more, Err(Error::ShortPopulate { done: 0, wanted: 2, .. })), "{more:?}");
}

#[test]
fn mapped_memory_keeps_what_is_written_and_a_hole_cannot_be_mapped() {
    let _bed = Bed::new();
    let domain = Domain::with_memory();
    let mapping = domain.map(SPECIALS, 4);
    mapping.fill_zero(0, mapping.len());
    mapping.write_u32(3 * PAGE + 12, 0x1234_5678);
    drop(mapping);
    let image = vec![0x5a; 64 * PAGE];
    domain.map(Gfn(0), 64).write(0, &image);

    assert_eq!(domain.map(LAST_PAGE, 1).read_u32(12), 0x1234_5678);
    assert_eq!(domain.map(Gfn(63), 1).read_u32(PAGE - 4), 0x5a5a_5a5a);
    let hole = ForeignMapping::map(&domain.xen, domain.domid, &[LAST_PAGE, Gfn(4096)]);
    assert!(matches!(hole, Err(Error::ForeignMap { gfn: Gfn(4096), .. })), "{hole:?}");
}

#[test]
fn a_port_of_the_guest_is_bound_and_raised() {
    let _bed = Bed::new();
    let Domain { xen, domid } = &Domain::with_memory();
    let port = xen.evtchn_alloc_unbound(*domid, DomId::DOM0).expect("a port");
    let status = || xen.evtchn_status(*domid, port).expect("its status");
    assert_eq!(status(), PortStatus::Unbound(DomId::DOM0));

    let channels = EventChannels::open().expect("event channels");
    let local = channels.bind_interdomain(*domid, port).expect("a binding");
    assert_eq!(status(), PortStatus::Interdomain(DomId::DOM0, local));
    // The event may reach another processor of dom0, and this set only a little later.
    let mut fds = [PollFd::new(channels.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, EVENT_TIMEOUT_MS), Ok(1), "binding raises an event");
    let mut pending = Vec::new();
    channels.pending(&mut pending).expect("what is pending");
    assert_eq!(pending, [local]);
    channels.unmask(&pending).expect("unmasked");
    channels.notify(local).expect("notified");
    channels.unbind(local).expect("unbound");
}

#[test]
fn a_granted_page_is_mapped_and_copied_and_others_are_not() {
    let _bed = Bed::new();
    let domain = Domain::with_memory();
    let mapping = domain.map(LAST_PAGE, 1);
    mapping.fill_zero(0, mapping.len());
    mapping.write(5, b"hello");
    drop(mapping);
    let entry =
        GrantEntry { reference: GRANT, domid: DomId::DOM0, gfn: LAST_PAGE, read_only: false };
    seed_grants(&domain.xen, domain.domid, &[entry]).expect("a grant");

    let grants = GrantDevice::open().expect("grants");
    let page = grants.map(domain.domid, &[GRANT], true).expect("the page");
    let mut text = [0; 5];
    page.read(5, &mut text);
    assert_eq!(&text, b"hello");
    drop(page);

    let (mut good, mut bad) = ([0; 5], [0; 5]);
    let mut copies = [
        CopyOp::from_grant(domain.domid, GrantRef(9), 0, &mut bad),
        CopyOp::from_grant(domain.domid, GRANT, 5, &mut good),
        CopyOp::to_grant(domain.domid, GRANT, 4093, b"beyond the page"),
    ];
    grants.copy(&mut copies).expect("the copies are tried");
    assert_eq!(copies.each_ref().map(|copy| copy.failed.is_some()), [true, false, true]);
    assert_eq!(&good, b"hello");
}

#[test]
fn settings_for_a_guests_boot_are_stored() {
    let _bed = Bed::new();
    let Domain { xen, domid } = &Domain::with_memory();
    let seal = |first, pages| xen.set_mem_type(*domid, first, pages, MemType::RamReadOnly);
    seal(LAST_PAGE, Pages(1)).expect("a page of 4 KiB becomes read-only");
    seal(Gfn(1023), Pages(1)).expect("a part of a page of 2 MiB becomes read-only");
    let map = [MemoryRange { start: 0, size: MEMORY.to_bytes(), kind: MemoryKind::Ram }];
    xen.set_memory_map(*domid, &map).expect("a memory map");

    xen.set_hvm_param(*domid, Param::ConsolePfn, LAST_PAGE.0).expect("a parameter");
    assert_eq!(xen.hvm_param(*domid, Param::ConsolePfn).expect("the same"), LAST_PAGE.0);

    let vcpu = PvhVcpu { entry: 0x10_0000, start_info: 0x1000 };
    xen.set_hvm_context(*domid, &vcpu.context(1)).expect("CPU state");
    let state = xen.hvm_context(*domid).expect("the same");
    let entry = u64::from(vcpu.entry).to_le_bytes();
    assert!(state.windows(8).any(|word| word == entry), "the entry is in the state");
}
