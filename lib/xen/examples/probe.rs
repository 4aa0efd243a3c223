//! Makes an empty PVH domain by the same calls as a toolstack, checks what each did, takes the
//! domain away, and prints what each call cost in nanoseconds.
//!
//! Runs in dom0 as root: `scripts/nested --icount -- probe` shows figures that can be compared.

use std::error::Error;
use std::time::Instant;

use xen::domain::CreateDomain;
use xen::event::PortStatus;
use xen::evtchn::EventChannels;
use xen::foreign::{ForeignMapping, GrantEntry, seed_grants};
use xen::gntdev::{CopyOp, GrantDevice};
use xen::hvm::{MemType, Param};
use xen::hvm_context::PvhVcpu;
use xen::memory::{MemoryKind, MemoryRange};
use xen::units::{DomId, DomainHandle, Gfn, GrantRef, KiB, Pages};
use xen::{Error as XenError, Xen};

type Outcome<T> = Result<T, Box<dyn Error>>;

const HANDLE: DomainHandle = DomainHandle([0x42; 16]);
const MEMORY: KiB = KiB(4096 + 16);
/// Four pages of their own, behind two of 2 MiB.
const SPECIALS: Gfn = Gfn(1024);
const LAST_PAGE: Gfn = Gfn(1027);
const GRANT: GrantRef = GrantRef(8);
const ROUNDS: usize = 3;

/// The steps' names and costs, in order.
#[derive(Default)]
struct Steps(Vec<(&'static str, u128)>);

impl Steps {
    fn time<T, E>(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let start = Instant::now();
        let result = step();
        self.0.push((name, start.elapsed().as_nanos()));
        result
    }
}

fn main() -> Outcome<()> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut steps = Steps::default();
        let xen = steps.time("open", Xen::open)?;
        let before = xen.physinfo()?.free;
        let domid = steps.time("create_domain", || {
            xen.create_domain(&CreateDomain {
                max_grant_frames: 4,
                max_maptrack_frames: 0,
                ..CreateDomain::pvh(HANDLE, 1)
            })
        })?;
        let built = build(&xen, domid, &mut steps);
        steps.time("destroy", || xen.destroy(domid))?;
        built?;
        check(xen.domain_info(domid)?.is_none(), "the domain is gone")?;
        // Xen takes the domain itself apart a little later than its memory.
        let after = xen.physinfo()?.free;
        check(after.0 + 64 >= before.0, "its memory came back")?;
        rounds.push((xen.version(), steps));
    }
    print(&rounds);
    Ok(())
}

fn build(xen: &Xen, domid: DomId, steps: &mut Steps) -> Outcome<()> {
    let early = xen.evtchn_alloc_unbound(domid, DomId::DOM0);
    check(matches!(early, Err(XenError::Refused { .. })), "no port before there is a vCPU")?;
    let early = xen.hvm_context(domid);
    check(matches!(early, Err(XenError::Refused { .. })), "no state before there is a vCPU")?;

    steps.time("max_vcpus", || xen.max_vcpus(domid, 1))?;
    steps.time("max_mem", || xen.set_max_mem(domid, MEMORY))?;
    steps.time("paging pool", || xen.set_paging_mempool(domid, Pages(32).to_bytes()))?;
    check(xen.paging_mempool(domid)? == Pages(32).to_bytes(), "the pool has its size")?;
    steps.time("populate 2 x 2 MiB", || xen.populate_range(domid, Gfn(0), 2, 9))?;
    steps.time("populate 4 x 4 KiB", || xen.populate_range(domid, SPECIALS, 4, 0))?;
    let more = xen.populate_range(domid, Gfn(1028), 2, 0);
    check(
        matches!(more, Err(XenError::ShortPopulate { done: 0, wanted: 2, .. })),
        "no memory above the limit",
    )?;

    let mapping =
        steps.time("map 4 pages", || ForeignMapping::map_range(xen, domid, SPECIALS, Pages(4)))?;
    steps.time("clear 4 pages", || -> Outcome<()> {
        mapping.fill_zero(0, mapping.len());
        Ok(())
    })?;
    mapping.write(3 * 4096 + 5, b"hello");
    mapping.write_u32(3 * 4096 + 12, 0x1234_5678);
    check(mapping.read_u32(3 * 4096 + 12) == 0x1234_5678, "what was written is there")?;
    match ForeignMapping::map(xen, domid, &[LAST_PAGE, Gfn(4096)]) {
        Err(XenError::ForeignMap { gfn: Gfn(4096), .. }) => {}
        other => return Err(format!("a missing page was mapped: {other:?}").into()),
    }
    steps.time("unmap", || -> Outcome<()> {
        drop(mapping);
        Ok(())
    })?;

    let image = vec![0x5a; 64 * 4096];
    let mapping =
        steps.time("map 64 pages", || ForeignMapping::map_range(xen, domid, Gfn(0), Pages(64)))?;
    steps.time("write 256 KiB", || -> Outcome<()> {
        mapping.write(0, &image);
        Ok(())
    })?;
    drop(mapping);

    connect(xen, domid, steps)?;

    steps.time("make a page read-only", || {
        xen.set_mem_type(domid, LAST_PAGE, Pages(1), MemType::RamReadOnly)
    })?;
    steps.time("the same, in 2 MiB", || {
        xen.set_mem_type(domid, Gfn(1023), Pages(1), MemType::RamReadOnly)
    })?;
    steps.time("memory map", || {
        let size = MEMORY.to_bytes();
        xen.set_memory_map(domid, &[MemoryRange { start: 0, size, kind: MemoryKind::Ram }])
    })?;
    steps.time("set a parameter", || xen.set_hvm_param(domid, Param::ConsolePfn, LAST_PAGE.0))?;
    check(xen.hvm_param(domid, Param::ConsolePfn)? == LAST_PAGE.0, "the parameter is kept")?;
    let vcpu = PvhVcpu { entry: 0x10_0000, start_info: 0x1000 };
    steps.time("vCPU state", || xen.set_hvm_context(domid, &vcpu.context()))?;
    let state = steps.time("read the state back", || xen.hvm_context(domid))?;
    check(state.windows(8).any(|word| word == 0x10_0000u64.to_le_bytes()), "the entry is in it")?;

    let info = steps.time("domain_info", || xen.domain_info(domid))?.ok_or("no such domain")?;
    check(info.handle == HANDLE && info.state.paused, "the domain is ours, and paused")?;
    check(info.tot_pages == Pages(1028), "it has its memory")?;
    let all = steps.time("domain_list", || xen.domain_list(DomId::DOM0))?;
    check(all.last() == Some(&info), "it is the last in the list")?;
    check(xen.domain_info(DomId(domid.0 + 1))?.is_none(), "there is none after it")?;
    Ok(())
}

/// A port and a grant from the guest, bound and mapped here.
fn connect(xen: &Xen, domid: DomId, steps: &mut Steps) -> Outcome<()> {
    let port = steps.time("alloc_unbound", || xen.evtchn_alloc_unbound(domid, DomId::DOM0))?;
    check(
        xen.evtchn_status(domid, port)? == PortStatus::Unbound(DomId::DOM0),
        "the port waits for dom0",
    )?;
    let entry =
        GrantEntry { reference: GRANT, domid: DomId::DOM0, gfn: LAST_PAGE, read_only: false };
    steps.time("seed a grant", || seed_grants(xen, domid, &[entry]))?;

    let channels = EventChannels::open()?;
    let local = steps.time("bind", || channels.bind_interdomain(domid, port))?;
    let mut ports = Vec::new();
    channels.pending(&mut ports)?;
    check(ports == [local], "binding raises one event")?;
    channels.unmask(&ports)?;
    channels.notify(local)?;
    let bound = PortStatus::Interdomain(DomId::DOM0, local);
    check(xen.evtchn_status(domid, port)? == bound, "the port is bound")?;

    let grants = GrantDevice::open()?;
    let page = steps.time("map a grant", || grants.map(domid, &[GRANT], true))?;
    let mut text = [0; 5];
    page.read(5, &mut text);
    check(&text == b"hello", "the granted page is the guest's page")?;
    steps.time("unmap the grant", || -> Outcome<()> {
        drop(page);
        Ok(())
    })?;

    let (mut good, mut bad) = ([0; 5], [0; 5]);
    let mut copies = [
        CopyOp::from_grant(domid, GrantRef(9), 0, &mut bad),
        CopyOp::from_grant(domid, GRANT, 5, &mut good),
        CopyOp::to_grant(domid, GRANT, 4093, b"beyond the page"),
    ];
    steps.time("copy", || grants.copy(&mut copies))?;
    let failed: Vec<bool> = copies.iter().map(|copy| copy.failed.is_some()).collect();
    check(failed == [true, false, true], "only the good copy is made")?;
    check(&good == b"hello", "the copy is right")?;
    channels.unbind(local)?;
    Ok(())
}

fn check(holds: bool, what: &str) -> Outcome<()> {
    if holds { Ok(()) } else { Err(format!("not so: {what}").into()) }
}

#[allow(clippy::print_stdout, reason = "the figures are what this program is for")]
fn print(rounds: &[((u32, u32), Steps)]) {
    let Some(((major, minor), first)) = rounds.first() else { return };
    println!("Xen {major}.{minor}; nanoseconds in {} rounds", rounds.len());
    for (index, (name, _)) in first.0.iter().enumerate() {
        let costs = rounds.iter().filter_map(|(_, steps)| steps.0.get(index));
        let costs: Vec<String> = costs.map(|(_, cost)| format!("{cost:>9}")).collect();
        println!("{name:<24}{}", costs.join(" "));
    }
}
