//! The second half: what depends on the request.

use std::sync::Arc;

use noxs::{
    Backend, Console, Device, DevicePage, DeviceState, Ipv4Config, MacAddr, Overlay, Ring, Sysctl,
    Vif,
};
use xen::foreign::GrantTable;
use xen::units::{DomId, DomainHandle, Gfn, GrantRef, Pages, Port};

use super::boot_page::{Ramdisk, boot_page};
use super::error::{BuildError, Doing};
use super::layout::{Layout, NoxsPages, OVERLAY_FRAMES};
use super::shell::{Shell, Unfinished, ring_grant};
use super::window::Window;
use crate::image::{Image, RamdiskFile};
use crate::timings::Timings;

/// What is put into a shell.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The kernel.
    pub image: &'a Arc<Image>,
    /// Its command line.
    pub command_line: &'a str,
    /// The ramdisk.
    pub ramdisk: Option<&'a RamdiskFile>,
    /// What the guest is told of each of its vifs.
    pub vifs: &'a [VifFacts],
}

/// What a guest is told of a vif.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VifFacts {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Its address, if dom0 gives one.
    pub ipv4: Option<Ipv4Config>,
}

/// A domain that has everything and waits for [`Ready::unpause`].
///
/// Dropping it destroys the domain.
#[derive(Debug)]
pub struct Ready {
    /// First among the fields: a domain whose pages are mapped cannot be destroyed whole.
    mapped: Mapped,
    domain: Unfinished,
    /// Where things are in the domain.
    pub layout: Layout,
}

/// What is still mapped of a guest; unmapped when dropped.
///
/// Unmapping takes as long as filling did, so whoever is in a hurry drops this later. But a guest
/// that ends meanwhile stays in Xen as a zombie. A process that is about to end leaves it to its
/// end ([`std::mem::forget`]), which is cheaper.
#[derive(Debug)]
#[must_use = "dropping it takes time"]
pub struct Mapped(
    #[expect(dead_code, reason = "held for its drop")] Window,
    #[expect(dead_code, reason = "held for its drop")] Option<GrantTable>,
);

impl Shell {
    /// Makes the shell a guest.
    ///
    /// # Errors
    /// The image, the ramdisk or the command line does not fit, another image is in already, or
    /// Xen refuses a step. The domain is destroyed.
    pub fn execute(
        mut self,
        payload: &Payload<'_>,
        timings: &mut Timings,
    ) -> Result<Ready, BuildError> {
        let ramdisk = place_ramdisk(&self.layout, payload)?;
        match self.loaded {
            None => {
                self.load(payload.image)?;
                timings.stage("image");
            }
            Some(_) if self.holds(payload.image) => {}
            Some(_) => return Err(BuildError::OtherImage),
        }
        if let (Some(place), Some(from)) = (ramdisk, payload.ramdisk) {
            let Unfinished { xen, domid, .. } = &self.domain;
            let pages = Pages(place.size.div_ceil(4096));
            let window = Window::of_memory(xen, *domid, Gfn(place.address >> 12), pages)?;
            window.write_ramdisk(place.address, from).map_err(BuildError::RamdiskFile)?;
            timings.stage("ramdisk");
        }

        let entry = payload.image.entry();
        let boot = boot_page(&self.layout, entry, payload.command_line, ramdisk)?;
        self.window.write(self.layout.boot_page.0 << 12, &boot);
        if let Some(noxs) = self.layout.noxs {
            let page = self.device_page(noxs, payload.vifs)?;
            let bytes = &page.encode()[..page.encoded_len()];
            self.window.write(noxs.device_page.0 << 12, bytes);
        }
        timings.stage("boot and device page");
        let Self { domain, layout, window, grants, .. } = self;
        Ok(Ready { mapped: Mapped(window, grants), domain, layout })
    }

    fn device_page(&self, noxs: NoxsPages, vifs: &[VifFacts]) -> Result<DevicePage, BuildError> {
        let mut page = DevicePage::new(self.domain.domid.0, self.domain.handle.0);
        page.sysctl = Sysctl {
            port: self.ports.store.0,
            answer_gfn: noxs.answer_page.0,
            ..Sysctl::default()
        };
        page.overlay = Overlay { gfn: self.layout.overlay.0, frames: OVERLAY_FRAMES };
        let Some(port) = self.ports.devices else { return Ok(page) };
        if self.flavour.console {
            let backend = self.backend(0, port, 0);
            page.add(Device::Console(Console { backend }))?;
        }
        for (index, facts) in (0u16..).zip(vifs) {
            let backend = self.backend(index, port, self.first_ring(index));
            let VifFacts { mac, mtu, ipv4 } = *facts;
            page.add(Device::Vif(Vif { backend, mac, mtu, ipv4, features: 0 }))?;
        }
        Ok(page)
    }

    fn backend<const RINGS: usize>(&self, index: u16, port: Port, first: u64) -> Backend<RINGS> {
        let mut rings = [Ring::default(); RINGS];
        for (number, ring) in (first..).zip(&mut rings) {
            let GrantRef(grant) = ring_grant(number);
            *ring = Ring { grant, gfn: self.layout.rings.0 + number };
        }
        let state = DeviceState::Connected;
        Backend { index, domid: DomId::DOM0.0, state, port: port.0, rings }
    }
}

impl Ready {
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

    /// Lets the guest run. From here on it belongs to whoever has its record.
    ///
    /// # Errors
    /// Xen refuses. The domain is destroyed.
    pub fn unpause(self, timings: &mut Timings) -> Result<Mapped, BuildError> {
        self.domain.xen.unpause(self.domain.domid).doing("start the guest")?;
        timings.stage("unpause");
        Ok(self.keep_paused())
    }

    /// Keeps the domain, paused.
    pub fn keep_paused(self) -> Mapped {
        self.domain.finish();
        self.mapped
    }
}

/// Finds the highest page-aligned place below the specials, and checks that it is free.
fn place_ramdisk(layout: &Layout, payload: &Payload<'_>) -> Result<Option<Ramdisk>, BuildError> {
    payload.image.check_fits(layout.usable_end())?;
    let Some(size) = payload.ramdisk.map(RamdiskFile::size) else { return Ok(None) };
    let image_end = payload.image.end().next_multiple_of(4096);
    let room = layout.usable_end().saturating_sub(image_end);
    if size.next_multiple_of(4096) > room {
        return Err(BuildError::Ramdisk { size, room });
    }
    let address = layout.usable_end() - size.next_multiple_of(4096);
    Ok(Some(Ramdisk { address, size }))
}
