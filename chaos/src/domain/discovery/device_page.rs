// SPDX-License-Identifier: GPL-3.0-or-later
//! Discovery through the device page: dom0 describes the devices in the guest's memory, and grants
//! their rings and allocates their port before the guest runs.

use noxs::{DevicePage as Page, DeviceState, Overlay, Sysctl};
use xen::Xen;
use xen::hvm::MemType;
use xen::units::{DomId, Gfn, GrantRef, Pages};

use super::entries::PageEntries;
use super::side::{DevicePageDisk, DevicePageVif, GuestSide, SpecialPages};
use crate::domain::error::{BuildError, Doing};
use crate::domain::flavour::Flavour;
use crate::domain::grants::noxs_grant;
use crate::domain::layout::{Layout, NoxsPages, OVERLAY_FRAMES, noxs_overlay};
use crate::domain::shell::{Ports, Shell};

/// Limit of grant table frames, of 512 entries each. Xen allocates them when they are used.
const MAX_GRANT_FRAMES: i32 = 4;

/// The device page, as a way of discovery.
#[derive(Clone, Copy)]
pub(super) struct DevicePage;

impl GuestSide for DevicePage {
    fn paging_pages(self) -> u64 {
        0
    }

    fn max_grant_frames(self) -> i32 {
        MAX_GRANT_FRAMES
    }

    fn special_pages(self, flavour: &Flavour, next: u64) -> SpecialPages {
        SpecialPages {
            noxs: Some(NoxsPages { device_page: Gfn(next), answer_page: Gfn(next + 1) }),
            acpi: None,
            rings: Gfn(next + 2),
            overlay: noxs_overlay(Gfn(next + 2)),
            ring_count: u64::from(flavour.console)
                + 2 * u64::from(flavour.vifs)
                + u64::from(flavour.disks),
        }
    }

    fn has_device_port(self, flavour: &Flavour) -> bool {
        flavour.console || flavour.vifs > 0 || flavour.disks > 0
    }

    fn ring_grant(self, ring: u64) -> GrantRef {
        noxs_grant(ring)
    }

    fn finish(
        self,
        xen: &Xen,
        domid: DomId,
        layout: &Layout,
        _ports: &Ports,
    ) -> Result<&'static str, BuildError> {
        if let Some(noxs) = layout.noxs {
            // The seal holds for the guest's CPU only. dom0 can still write through its mapping.
            xen.set_mem_type(domid, noxs.device_page, Pages(1), MemType::RamReadOnly)
                .doing("seal the device page")?;
        }
        Ok("seal")
    }

    fn describe(
        self,
        shell: &Shell,
        vifs: &[DevicePageVif],
        disks: &[DevicePageDisk],
    ) -> Result<(), BuildError> {
        let Some(noxs) = shell.layout.noxs else { return Ok(()) };
        let page = page(shell, noxs, vifs, disks)?;
        // Not a whole page: the kernel would have to add two pages to the stack.
        let mut bytes = vec![0; page.encoded_len()];
        page.encode_into(&mut bytes);
        shell.window.write(noxs.device_page.0 << 12, &bytes);
        Ok(())
    }
}

/// Returns the device page of the guest that a shell becomes.
fn page(
    shell: &Shell,
    noxs: NoxsPages,
    vifs: &[DevicePageVif],
    disks: &[DevicePageDisk],
) -> Result<Page, BuildError> {
    let mut page = Page::new(shell.domain.domid.0, shell.domain.handle.0);
    page.sysctl =
        Sysctl { port: shell.ports.store.0, answer_gfn: noxs.answer_page.0, ..Sysctl::default() };
    page.overlay = Overlay { gfn: shell.layout.overlay.0, frames: OVERLAY_FRAMES };
    let Some(port) = shell.ports.devices else { return Ok(page) };
    let entries = PageEntries { rings: shell.layout.rings, port };
    if shell.flavour.console {
        page.add(entries.console())?;
    }
    for (index, vif) in (0u16..).zip(vifs) {
        let first = shell.first_ring(index);
        page.add(entries.vif((index, 0), [first, first + 1], DeviceState::Connected, vif))?;
    }
    for (index, disk) in (0u16..).zip(disks) {
        let ring = shell.disk_ring(index);
        page.add(entries.disk((index, 0), ring, DeviceState::Connected, disk))?;
    }
    Ok(page)
}
