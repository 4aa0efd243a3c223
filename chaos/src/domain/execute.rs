//! The second half: what depends on the request.

use std::sync::Arc;

use noxs::{Ipv4Config, MacAddr};
use xen::foreign::GrantTable;
use xen::units::{DomId, DomainHandle, Gfn, Pages};

use super::boot_page::{Ramdisk, boot_page};
use super::discovery::GuestSide;
use super::error::{BuildError, Doing};
use super::layout::Layout;
use super::shell::{Shell, Unfinished};
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
    /// What the device page says of each vif.
    pub vifs: &'a [DevicePageVif],
}

/// What the device page says of a vif.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePageVif {
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
        self.flavour.store.discovery().describe(&self, payload.vifs)?;
        timings.stage("boot and device page");
        let Self { domain, layout, window, grants, .. } = self;
        Ok(Ready { mapped: Mapped(window, grants), domain, layout })
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
