//! The first half: everything that does not depend on the request.

use std::rc::Rc;

use xen::domain::CreateDomain;
use xen::foreign::{ForeignMapping, GrantEntry, seed_grants};
use xen::units::{DomId, DomainHandle, Gfn, GrantRef, KiB, Pages, Port};
use xen::{Error, Xen};

use super::error::{BuildError, Doing};
use super::flavour::Flavour;
use super::layout::Layout;
use super::memory::populate;
use crate::timings::Timings;

/// Event channel ports a guest may have; Xen makes them as they are used.
const MAX_EVENT_CHANNELS: u32 = 1023;

/// Grant table frames a guest may have, of 512 entries each; Xen makes them as they are used.
const MAX_GRANT_FRAMES: i32 = 4;

/// The smallest guest: below, no image of ours fits.
const LEAST_MEMORY: KiB = KiB(1024);

/// First grant reference that dom0 fills in. Those below are reserved by Xen's convention
/// (`GNTTAB_NR_RESERVED_ENTRIES`).
const FIRST_GRANT: u32 = 8;

/// The guest's ends of its event channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// The sysctl block's.
    pub sysctl: Port,
    /// The console's, if there is one.
    pub console: Option<Port>,
    /// One for each vif.
    pub vifs: Vec<Port>,
}

/// A domain that has everything but an image.
///
/// Dropping it destroys the domain.
#[derive(Debug)]
pub struct Shell {
    pub(super) domain: Unfinished,
    /// What it was made for.
    pub flavour: Flavour,
    /// Where things are in it.
    pub layout: Layout,
    /// Its event channels.
    pub ports: Ports,
    /// The special pages, from the boot page to the last ring.
    pub(super) specials: ForeignMapping,
}

/// A domain that is destroyed unless it is finished.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) xen: Rc<Xen>,
    pub(super) domid: DomId,
    pub(super) handle: DomainHandle,
    finished: bool,
}

impl Unfinished {
    pub(super) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            // There is nobody to tell: this runs while another error is on its way. What is left
            // is a half-made domain, which `chaos list` shows and `chaos destroy` removes.
            let _ = self.xen.destroy(self.domid);
        }
    }
}

/// Makes a shell.
///
/// Devices get their rings, grants and event channels here; attaching their backends is the
/// caller's part, for it depends on names and files (see [`crate::lifecycle`]).
///
/// # Errors
/// Xen refuses a step, most often for lack of memory. Nothing is left behind.
pub fn prepare(
    xen: &Rc<Xen>,
    flavour: Flavour,
    handle: DomainHandle,
    timings: &mut Timings,
) -> Result<Shell, BuildError> {
    let layout = checked_layout(&flavour)?;
    let domid = xen
        .create_domain(&CreateDomain {
            max_event_channels: MAX_EVENT_CHANNELS,
            max_grant_frames: MAX_GRANT_FRAMES,
            // The guest maps no other domain's pages.
            max_maptrack_frames: 0,
            ..CreateDomain::pvh(handle, flavour.vcpus)
        })
        .or_else(|error| out_of_memory(xen, &flavour, error, "create the domain"))?;
    let domain = Unfinished { xen: Rc::clone(xen), domid, handle, finished: false };
    timings.stage("createdomain");

    // Events may only be sent to a domain that has its vCPUs: Xen 4.17 to 4.20 dereference the
    // missing vCPU and take the host down. So this comes before anything that makes a port.
    xen.max_vcpus(domid, flavour.vcpus)
        .or_else(|error| out_of_memory(xen, &flavour, error, "create the vCPUs"))?;
    timings.stage("max_vcpus");

    let all = Pages(layout.memory.0 + layout.specials().0).to_kib();
    xen.set_max_mem(domid, all).doing("set the memory limit")?;
    xen.set_paging_mempool(domid, flavour.paging_pages().to_bytes())
        .or_else(|error| out_of_memory(xen, &flavour, error, "size the paging pool"))?;
    timings.stage("paging pool");

    for (first, count) in layout.memory_runs() {
        populate(xen, domid, first, count, flavour.memory)?;
    }
    populate(xen, domid, layout.boot_page, layout.specials(), flavour.memory)?;
    timings.stage("populate");

    let specials = ForeignMapping::map_range(xen, domid, layout.boot_page, layout.specials())
        .doing("map the guest's special pages")?;
    // Memory that dom0 gave back is not scrubbed by Xen. The boot page and the device page are
    // written whole later; the others are shared with the guest as they are.
    let answer = layout.offset_of(layout.answer_page);
    specials.fill_zero(answer, specials.len() - answer);
    timings.stage("map specials");

    let ports = make_ports(xen, domid, &flavour)?;
    seed(xen, domid, &layout)?;
    timings.stage("ports and grants");

    Ok(Shell { domain, flavour, layout, ports, specials })
}

fn checked_layout(flavour: &Flavour) -> Result<Layout, BuildError> {
    match flavour.memory {
        memory if memory < LEAST_MEMORY => {
            Err(BuildError::TooSmall { memory, least: LEAST_MEMORY })
        }
        _ => Ok(Layout::new(flavour)),
    }
}

/// Says how much memory is free if that is what Xen ran out of.
fn out_of_memory<T>(
    xen: &Xen,
    flavour: &Flavour,
    error: Error,
    doing: &'static str,
) -> Result<T, BuildError> {
    if error.is_out_of_memory() {
        let free = xen.physinfo().doing("ask how much memory is free")?.free;
        return Err(BuildError::NoMemory { wanted: flavour.memory, free: free.to_kib() });
    }
    Err(error).doing(doing)
}

fn make_ports(xen: &Xen, domid: DomId, flavour: &Flavour) -> Result<Ports, BuildError> {
    let port = || xen.evtchn_alloc_unbound(domid, DomId::DOM0).doing("allocate an event channel");
    Ok(Ports {
        sysctl: port()?,
        console: flavour.console.then(port).transpose()?,
        vifs: (0..flavour.vifs).map(|_| port()).collect::<Result<_, _>>()?,
    })
}

/// Grants the ring pages to the backend's domain, in the order they have in memory.
fn seed(xen: &Xen, domid: DomId, layout: &Layout) -> Result<(), BuildError> {
    if layout.ring_count == 0 {
        return Ok(());
    }
    let entries: Vec<GrantEntry> = (0..layout.ring_count)
        .map(|ring| GrantEntry {
            reference: ring_grant(ring),
            domid: DomId::DOM0,
            gfn: Gfn(layout.rings.0 + ring),
            read_only: false,
        })
        .collect();
    seed_grants(xen, domid, &entries).doing("grant the ring pages")
}

/// The grant reference of a ring page, counted from the first one.
pub(super) fn ring_grant(ring: u64) -> GrantRef {
    GrantRef(FIRST_GRANT + u32::try_from(ring).unwrap_or(u32::MAX))
}

impl Shell {
    /// The domain's number.
    #[must_use]
    pub fn domid(&self) -> DomId {
        self.domain.domid
    }

    /// The domain's handle.
    #[must_use]
    pub fn handle(&self) -> DomainHandle {
        self.domain.handle
    }

    /// Grant reference of the console's ring.
    #[must_use]
    pub fn console_grant(&self) -> Option<GrantRef> {
        self.flavour.console.then(|| ring_grant(0))
    }

    /// Grant references of a vif's transmit and receive ring.
    #[must_use]
    pub fn vif_grants(&self, index: u16) -> [GrantRef; 2] {
        let first = self.first_ring(index);
        [ring_grant(first), ring_grant(first + 1)]
    }

    /// Number of a vif's transmit ring among the domain's ring pages.
    pub(super) fn first_ring(&self, vif: u16) -> u64 {
        u64::from(self.flavour.console) + 2 * u64::from(vif)
    }
}
