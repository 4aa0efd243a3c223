//! The second half: what depends on the request.

use noxs::{
    Backend, Console, Device, DevicePage, DeviceState, Ipv4Config, MacAddr, Overlay, Ring, Sysctl,
    Vif,
};
use xen::foreign::ForeignMapping;
use xen::hvm::MemType;
use xen::hvm_context::PvhVcpu;
use xen::units::{DomId, DomainHandle, Gfn, GrantRef, Pages};

use super::boot_page::{Ramdisk, boot_page};
use super::error::{BuildError, Doing};
use super::layout::{Layout, OVERLAY_FRAMES};
use super::prepare::{Shell, Unfinished, ring_grant};
use crate::image::Image;
use crate::timings::Timings;

/// Segments this close together, in pages, are mapped at once: mapping a few pages too many is
/// cheaper than another mapping.
const MAP_GAP: u64 = 64;

/// What is put into a shell.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The kernel.
    pub image: &'a Image,
    /// Its command line.
    pub command_line: &'a str,
    /// The ramdisk's bytes.
    pub ramdisk: Option<&'a [u8]>,
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
    /// What was mapped to fill the domain. Unmapping takes as long as filling did, so it waits
    /// until the guest runs. First among the fields: a domain whose pages are mapped cannot be
    /// destroyed whole.
    mappings: Vec<ForeignMapping>,
    domain: Unfinished,
    /// The device page as dom0 wrote it: dom0's own copy, the only one it trusts.
    pub page: DevicePage,
    /// Where things are in the domain.
    pub layout: Layout,
}

impl Shell {
    /// Puts an image into the shell.
    ///
    /// # Errors
    /// The image, the ramdisk or the command line does not fit, or Xen refuses a step. The domain
    /// is destroyed.
    pub fn execute(
        self,
        payload: &Payload<'_>,
        timings: &mut Timings,
    ) -> Result<Ready, BuildError> {
        let ramdisk = place_ramdisk(&self.layout, payload)?;
        let mut mappings = self.load_image(payload.image)?;
        if let (Some(place), Some(bytes)) = (ramdisk, payload.ramdisk) {
            let pages = Pages(place.size.div_ceil(4096));
            let mapping = self.map(Gfn(place.address >> 12), pages)?;
            mapping.write(0, bytes);
            mappings.push(mapping);
        }
        timings.stage("image");

        let boot = boot_page(&self.layout, payload.command_line, ramdisk)?;
        self.specials.write(self.layout.offset_of(self.layout.boot_page), &boot);
        let page = self.device_page(payload.vifs)?;
        self.specials.write(self.layout.offset_of(self.layout.device_page), &page.encode());
        let Self { domain, layout, specials, .. } = self;
        mappings.push(specials);
        timings.stage("boot and device page");

        domain
            .xen
            .set_mem_type(domain.domid, layout.device_page, Pages(1), MemType::RamReadOnly)
            .doing("seal the device page")?;
        timings.stage("seal");

        let vcpu = PvhVcpu { entry: payload.image.entry(), start_info: layout.boot_page.0 << 12 };
        domain.xen.set_hvm_context(domain.domid, &vcpu.context()).doing("set up the vCPU")?;
        timings.stage("vCPU context");
        Ok(Ready { mappings, domain, page, layout })
    }

    fn map(&self, first: Gfn, count: Pages) -> Result<ForeignMapping, BuildError> {
        ForeignMapping::map_range(&self.domain.xen, self.domain.domid, first, count)
            .doing("map the guest's memory")
    }

    /// Copies the segments and clears what they leave open. Runs of segments that are close
    /// together are mapped at once.
    fn load_image(&self, image: &Image) -> Result<Vec<ForeignMapping>, BuildError> {
        let mut mappings = Vec::new();
        let mut segments = image.segments().iter().peekable();
        while let Some(first) = segments.next() {
            let start = first.paddr >> 12;
            let mut end = (first.paddr + first.mem_size).div_ceil(4096);
            let mut run = vec![first];
            while let Some(next) =
                segments.next_if(|next| next.paddr >> 12 <= end.saturating_add(MAP_GAP))
            {
                end = end.max((next.paddr + next.mem_size).div_ceil(4096));
                run.push(next);
            }
            if end == start {
                continue;
            }
            let mapping = self.map(Gfn(start), Pages(end - start))?;
            for segment in run {
                let at = offset(segment.paddr - (start << 12));
                let bytes = image.bytes(segment);
                mapping.write(at, bytes);
                mapping.fill_zero(at + bytes.len(), offset(segment.mem_size) - bytes.len());
            }
            mappings.push(mapping);
        }
        Ok(mappings)
    }

    fn device_page(&self, vifs: &[VifFacts]) -> Result<DevicePage, BuildError> {
        let mut page = DevicePage::new(self.domain.domid.0, self.domain.handle.0);
        page.sysctl = Sysctl {
            port: self.ports.sysctl.0,
            answer_gfn: self.layout.answer_page.0,
            ..Sysctl::default()
        };
        page.overlay = Overlay {
            gfn: self.layout.overlay.0,
            frames: u32::try_from(OVERLAY_FRAMES).unwrap_or(u32::MAX),
        };
        if let Some(port) = self.ports.console {
            let backend = self.backend(0, port.0, 0);
            page.add(Device::Console(Console { backend }))?;
        }
        for (index, (facts, port)) in (0u16..).zip(vifs.iter().zip(&self.ports.vifs)) {
            let backend = self.backend(index, port.0, self.first_ring(index));
            let VifFacts { mac, mtu, ipv4 } = *facts;
            page.add(Device::Vif(Vif { backend, mac, mtu, ipv4, features: 0 }))?;
        }
        Ok(page)
    }

    fn backend<const RINGS: usize>(&self, index: u16, port: u32, first: u64) -> Backend<RINGS> {
        let mut rings = [Ring::default(); RINGS];
        for (number, ring) in (first..).zip(&mut rings) {
            let GrantRef(grant) = ring_grant(number);
            *ring = Ring { grant, gfn: self.layout.rings.0 + number };
        }
        Backend { index, domid: DomId::DOM0.0, state: DeviceState::Connected, port, rings }
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

    /// Lets the domain run. From here on it stays.
    ///
    /// # Errors
    /// Xen refuses; the domain is destroyed.
    pub fn unpause(self, timings: &mut Timings) -> Result<(), BuildError> {
        self.domain.xen.unpause(self.domain.domid).doing("start the guest")?;
        timings.stage("unpause");
        self.domain.finish();
        drop(self.mappings);
        timings.stage("unmap");
        Ok(())
    }

    /// Keeps the domain, paused.
    pub fn keep_paused(self) {
        self.domain.finish();
    }
}

/// Finds the highest page-aligned place below the specials, and checks that it is free.
fn place_ramdisk(layout: &Layout, payload: &Payload<'_>) -> Result<Option<Ramdisk>, BuildError> {
    payload.image.check_fits(layout.usable_end())?;
    let Some(bytes) = payload.ramdisk else { return Ok(None) };
    let size = bytes.len() as u64;
    let image_end = payload.image.end().next_multiple_of(4096);
    let room = layout.usable_end().saturating_sub(image_end);
    if size.next_multiple_of(4096) > room {
        return Err(BuildError::Ramdisk { size, room });
    }
    let address = layout.usable_end() - size.next_multiple_of(4096);
    Ok(Some(Ramdisk { address, size }))
}

fn offset(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
