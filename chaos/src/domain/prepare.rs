// SPDX-License-Identifier: GPL-3.0-or-later
//! The first half of a create: everything that does not depend on the request.

use std::rc::Rc;

use xen::Xen;
use xen::domain::CreateDomain;
use xen::foreign::{GrantEntry, GrantTable};
use xen::hvm::Param;
use xen::units::{DomId, DomainHandle, Gfn, KiB, Pages};
use xen_abi::hvm::HVMPTM_NO_DELAY_FOR_MISSED_TICKS;

use super::acpi;
use super::boot_page::TRAMPOLINE;
use super::discovery::GuestSide;
use super::error::{BuildError, Doing};
use super::flavour::Flavour;
use super::layout::Layout;
use super::memory::{Allocation, Needs};
use super::shell::{Ports, Shell, Unfinished};
use super::vcpus::WithVcpus;
use super::window::{Runs, Window, runs_of};
use crate::config::{Discovery, Limits};
use crate::image::Image;
use crate::timings::Timings;

/// Limit of event channel ports. Xen allocates their structures when they are used.
const MAX_EVENT_CHANNELS: u32 = 1023;

/// Memory of the smallest guest. None of the project's images fits into less.
const LEAST_MEMORY: KiB = KiB(1024);

/// First page of most images, and number of pages of small ones.
const USUAL_START: u64 = 0x28;
const USUAL_PAGES: u64 = 96;

/// Prepares a shell.
///
/// Devices get their rings, grants and event channels here. [`crate::guests`] attaches their
/// backends, because that depends on names and files. The pages that `image` fills are mapped here
/// already; another image can still be loaded, at the cost of another mapping.
///
/// # Errors
/// Xen refuses a step, most often for lack of memory, or the image does not fit. Nothing is left
/// behind.
pub fn prepare(
    xen: &Rc<Xen>,
    flavour: Flavour,
    image: Option<&Image>,
    handle: DomainHandle,
    timings: &mut Timings,
) -> Result<Shell, BuildError> {
    let layout = checked_layout(&flavour)?;
    let runs = match image {
        Some(image) => {
            image.check_fits(layout.usable_end())?;
            runs_of(image)
        }
        None => usual_runs(&layout),
    };
    let needs = Needs {
        pages: Pages(layout.memory.0 + layout.specials().0),
        paging: flavour.paging_pages(),
    };
    let discovery = flavour.store.discovery();
    let Limits { grant_frames, maptrack_frames, event_channels, .. } = flavour.limits;
    let frames = |limit: u32| i32::try_from(limit).unwrap_or(i32::MAX);
    let usual_frames = discovery.max_grant_frames();
    let domid = xen
        .create_domain(&CreateDomain {
            max_event_channels: event_channels.unwrap_or(MAX_EVENT_CHANNELS),
            max_grant_frames: grant_frames
                .map_or(usual_frames, |most| frames(most).max(usual_frames)),
            // Guests do not map pages of other domains, unless they serve devices.
            max_maptrack_frames: maptrack_frames.map_or(0, frames),
            ..CreateDomain::pvh(handle, flavour.max_vcpus())
        })
        .map_err(|error| needs.explain(&**xen, None, Pages(0), error, "create the domain"))?;
    let domain = Unfinished::new(xen, domid, handle);
    let out_of_memory = |error, doing| needs.explain(&**xen, Some(domid), Pages(0), error, doing);
    timings.stage("createdomain");

    let vcpus = WithVcpus::create(xen, domid, flavour.max_vcpus())
        .map_err(|error| out_of_memory(error, "create the vCPUs"))?;
    timings.stage("max_vcpus");

    let most = Pages(flavour.max_memory_pages().0 + layout.specials().0);
    xen.set_max_mem(domid, most.to_kib()).doing("set the memory limit")?;
    // Before the pool, which Xen then takes from what is not claimed.
    let mut memory = Allocation::begin(&**xen, domid, needs)?;
    xen.set_paging_mempool(domid, needs.paging.to_bytes())
        .map_err(|error| out_of_memory(error, "size the paging pool"))?;
    timings.stage("paging pool");

    for (first, count) in layout.memory_runs() {
        memory.populate(first, count)?;
    }
    memory.populate(layout.boot_page, layout.specials())?;
    // The boot page has the map, too, but some kernels, such as GRUB, ask Xen for it.
    let map: Vec<_> = layout.memory_map().collect();
    xen.set_memory_map(domid, &map).doing("set the memory map")?;
    // As libxl does. By default, Xen would let the time of emulated timers fall behind while the vCPU is
    // not running.
    let timer_mode = u64::from(HVMPTM_NO_DELAY_FOR_MISSED_TICKS);
    xen.set_hvm_param(domid, Param::TimerMode, timer_mode).doing("set the timer mode")?;
    timings.stage("populate");

    let window = Window::map(xen, domid, &layout, runs)?;
    // Xen does not scrub memory that dom0 has released.
    window.fill_zero(layout.boot_page.0 << 12, layout.specials().0 << 12);
    if let Some(tables) = layout.acpi {
        let address = tables.0 << 12;
        window.write(address, &acpi::tables(address, flavour.max_vcpus(), flavour.vcpus));
    }
    timings.stage("map");

    let port = || vcpus.alloc_port().doing("allocate an event channel");
    let has_device_port = discovery.has_device_port(&flavour);
    let ports = Ports { store: port()?, devices: has_device_port.then(port).transpose()? };
    let grants = grant_rings(xen, domid, discovery, &layout)?;
    timings.stage("ports and grants");
    timings.stage(discovery.finish(xen, domid, &layout, &ports)?);

    let start_info = layout.boot_page.0 << 12;
    let entry = layout.in_boot_page(TRAMPOLINE);
    vcpus.set_context(entry, start_info).doing("set up the vCPU")?;
    timings.stage("vCPU context");
    Ok(Shell { domain, flavour, layout, ports, window, grants, loaded: None })
}

/// Returns the part of memory that most images of the project's guests fill.
fn usual_runs(layout: &Layout) -> Runs {
    let start = USUAL_START.min(layout.low_end.0);
    let run = start..(start + USUAL_PAGES).min(layout.low_end.0);
    if run.is_empty() { Runs::new() } else { Runs::from([run]) }
}

/// Returns the layout of a flavour, after checking that it has enough memory.
fn checked_layout(flavour: &Flavour) -> Result<Layout, BuildError> {
    match flavour.memory {
        memory if memory < LEAST_MEMORY => {
            Err(BuildError::TooSmall { memory, least: LEAST_MEMORY })
        }
        _ => Ok(Layout::new(flavour)),
    }
}

/// Grants the ring pages to the backend's domain, in the order of the layout. Returns the mapped
/// grant table, so that it can be unmapped later.
fn grant_rings(
    xen: &Xen,
    domid: DomId,
    discovery: Discovery,
    layout: &Layout,
) -> Result<Option<GrantTable>, BuildError> {
    if layout.ring_count == 0 {
        return Ok(None);
    }
    let table = GrantTable::map(xen, domid).doing("map the grant table")?;
    for ring in 0..layout.ring_count {
        let entry = GrantEntry {
            reference: discovery.ring_grant(ring),
            domid: DomId::DOM0,
            gfn: Gfn(layout.rings.0 + ring),
            read_only: false,
        };
        table.set(&entry).doing("grant the ring pages")?;
    }
    Ok(Some(table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Store;

    fn flavour(memory: KiB) -> Flavour {
        Flavour {
            memory,
            vcpus: 1,
            console: true,
            vifs: 1,
            disks: 0,
            limits: Limits::default(),
            store: Store::Noxs,
        }
    }

    #[test]
    fn a_guest_with_too_little_memory_is_refused_before_xen_is_called() {
        let refused = checked_layout(&flavour(KiB(1020))).unwrap_err();
        assert!(
            matches!(refused, BuildError::TooSmall { memory: KiB(1020), least: KiB(1024) }),
            "{refused}"
        );
        assert_eq!(checked_layout(&flavour(LEAST_MEMORY)).unwrap().memory, Pages(256));
    }

    /// A shell of the pool does not know its image yet. What is mapped must be memory of the guest.
    #[test]
    fn the_usual_pages_are_within_the_memory() {
        let usual = USUAL_START..USUAL_START + USUAL_PAGES;
        for (pages, run) in [
            (256, Some(usual)),
            (USUAL_START + 1, Some(USUAL_START..USUAL_START + 1)),
            (USUAL_START, None),
            (1, None),
        ] {
            let layout = Layout::new(&flavour(Pages(pages).to_kib()));
            assert_eq!(usual_runs(&layout), Vec::from_iter(run), "{pages} pages");
        }
    }
}
