// SPDX-License-Identifier: GPL-3.0-or-later
//! Discovery through the device page: dom0 describes the devices in the guest's memory, and grants
//! their rings and allocates their port before the guest runs.

use noxs::{
    Backend, Console, Device, DevicePage as Page, DeviceState, Overlay, Ring, Sysctl, Vbd, Vif,
};
use noxs_control::INDIRECT_SEGMENTS;
use xen::Xen;
use xen::hvm::MemType;
use xen::units::{DomId, Gfn, GrantRef, Pages, Port};

use super::side::{DevicePageDisk, DevicePageVif, GuestSide, SpecialPages};
use crate::domain::error::{BuildError, Doing};
use crate::domain::flavour::Flavour;
use crate::domain::grants::noxs_grant;
use crate::domain::layout::{Layout, NoxsPages, OVERLAY_FRAMES};
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
    if shell.flavour.console {
        let backend = backend(&shell.layout, 0, port, 0);
        page.add(Device::Console(Console { backend }))?;
    }
    for (index, vif) in (0u16..).zip(vifs) {
        let backend = backend(&shell.layout, index, port, shell.first_ring(index));
        let DevicePageVif { mac, mtu, ipv4, ipv6 } = *vif;
        let features = noxs_control::VIF_FEATURES;
        page.add(Device::Vif(Vif { backend, mac, mtu, ipv4, ipv6, features }))?;
    }
    for (index, disk) in (0u16..).zip(disks) {
        let backend = backend(&shell.layout, index, port, shell.disk_ring(index));
        let DevicePageDisk { geometry, discard } = *disk;
        // What each noxsd that accepts this chaos' messages does.
        let indirect_segments = INDIRECT_SEGMENTS;
        let vbd = Vbd { backend, geometry, flush: true, barrier: true, discard, indirect_segments };
        page.add(Device::Vbd(vbd))?;
    }
    Ok(page)
}

/// Returns what the page says of one device's backend, with rings from number `first` on.
fn backend<const RINGS: usize>(
    layout: &Layout,
    index: u16,
    port: Port,
    first: u64,
) -> Backend<RINGS> {
    let mut rings = [Ring::default(); RINGS];
    for (number, ring) in (first..).zip(&mut rings) {
        let GrantRef(grant) = noxs_grant(number);
        *ring = Ring { grant, gfn: layout.rings.0 + number };
    }
    let state = DeviceState::Connected;
    Backend { index, domid: DomId::DOM0.0, state, port: port.0, rings }
}
