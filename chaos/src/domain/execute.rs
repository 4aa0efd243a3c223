// SPDX-License-Identifier: GPL-3.0-or-later
//! The second half of a create: everything that depends on the request.

use std::sync::Arc;

use xen::foreign::GrantTable;
use xen::units::{DomId, DomainHandle, Gfn, Pages};

use super::boot_page::{Module, Modules, boot_page};
use super::discovery::{DevicePageDisk, DevicePageVif, GuestSide};
use super::error::{BuildError, Doing};
use super::layout::Layout;
use super::shell::{Shell, Unfinished};
use super::window::Window;
use crate::image::{Image, ImageError, ModuleFile};
use crate::timings::Timings;

/// What turns a shell into a guest.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The kernel.
    pub image: &'a Arc<Image>,
    /// Its command line.
    pub command_line: &'a str,
    /// The kernel that the image starts, with its command line, if the image is the PV shim.
    pub pv_kernel: Option<(&'a ModuleFile, &'a str)>,
    /// The ramdisk.
    pub ramdisk: Option<&'a ModuleFile>,
    /// The vifs, as the device page describes them.
    pub vifs: &'a [DevicePageVif],
    /// The disks, likewise.
    pub disks: &'a [DevicePageDisk],
}

/// A complete domain that waits for [`Ready::unpause`].
///
/// Dropping it destroys the domain.
#[derive(Debug)]
pub struct Ready {
    /// The first field, so that it is dropped first: Xen keeps a destroyed domain as long as one of
    /// its pages is mapped.
    mapped: Mapped,
    domain: Unfinished,
    /// The layout of its memory.
    pub layout: Layout,
}

/// The pages of a guest that are still mapped. Dropping it unmaps them.
///
/// Unmapping takes as long as filling the pages did, so a caller that is in a hurry drops this
/// later. But a guest that exits meanwhile stays in Xen as a zombie. A process that is about to
/// exit forgets this value ([`std::mem::forget`]): the kernel unmaps the pages at a lower cost when
/// the process exits.
#[derive(Debug)]
#[must_use = "dropping it takes time"]
pub struct Mapped(
    #[expect(dead_code, reason = "held for its drop")] Window,
    #[expect(dead_code, reason = "held for its drop")] Option<GrantTable>,
);

impl Shell {
    /// Turns the shell into a guest.
    ///
    /// # Errors
    /// The image, the ramdisk or the command line does not fit, the shell holds another image, or
    /// Xen refuses a step. The domain is destroyed.
    pub fn execute(
        mut self,
        payload: &Payload<'_>,
        timings: &mut Timings,
    ) -> Result<Ready, BuildError> {
        let modules = place_modules(&self.layout, payload)?;
        match self.loaded {
            None => {
                self.load(payload.image)?;
                timings.stage("image");
            }
            Some(_) if self.holds(payload.image) => {}
            Some(_) => return Err(BuildError::OtherImage),
        }
        if let (Some((place, _)), Some((from, _))) = (modules.pv_kernel, payload.pv_kernel) {
            self.write_module(place, from, BuildError::PvKernelFile)?;
            timings.stage("PV kernel");
        }
        if let (Some(place), Some(from)) = (modules.ramdisk, payload.ramdisk) {
            self.write_module(place, from, BuildError::RamdiskFile)?;
            timings.stage("ramdisk");
        }

        let entry = payload.image.entry();
        let boot = boot_page(&self.layout, entry, payload.command_line, modules)?;
        self.window.write(self.layout.boot_page.0 << 12, &boot);
        self.flavour.store.discovery().describe(&self, payload.vifs, payload.disks)?;
        timings.stage("boot and device page");
        let Self { domain, layout, window, grants, .. } = self;
        Ok(Ready { mapped: Mapped(window, grants), domain, layout })
    }
}

impl Shell {
    /// Copies a file into the guest. `failed` makes the error if it cannot be read.
    fn write_module(
        &self,
        place: Module,
        from: &ModuleFile,
        failed: fn(ImageError) -> BuildError,
    ) -> Result<(), BuildError> {
        let Unfinished { xen, domid, .. } = &self.domain;
        let pages = Pages(place.size.div_ceil(4096));
        let window = Window::of_memory(xen, *domid, Gfn(place.address >> 12), pages)?;
        window.write_module(place.address, from).map_err(failed)
    }
}

impl Ready {
    /// Returns the domain's number.
    #[must_use]
    pub fn domid(&self) -> DomId {
        self.domain.domid
    }

    /// Returns the domain's handle.
    #[must_use]
    pub fn handle(&self) -> DomainHandle {
        self.domain.handle
    }

    /// Starts the guest. It is not destroyed on drop from then on.
    ///
    /// # Errors
    /// Xen refuses. The domain is destroyed.
    pub fn unpause(self, timings: &mut Timings) -> Result<Mapped, BuildError> {
        self.domain.xen.unpause(self.domain.domid).doing("start the guest")?;
        timings.stage("unpause");
        Ok(self.keep_paused())
    }

    /// Leaves the domain paused. It is not destroyed on drop from then on.
    pub fn keep_paused(self) -> Mapped {
        self.domain.finish();
        self.mapped
    }
}

/// Returns the highest page-aligned places for the ramdisk and, below it, the kernel of the PV shim,
/// after checking that the image leaves them free.
fn place_modules<'a>(layout: &Layout, payload: &Payload<'a>) -> Result<Modules<'a>, BuildError> {
    payload.image.check_fits(layout.usable_end())?;
    let image_end = payload.image.end().next_multiple_of(4096);
    let mut end = layout.usable_end();
    let mut place = |size: u64| {
        let room = end.saturating_sub(image_end);
        if size.next_multiple_of(4096) > room {
            return Err(room);
        }
        end -= size.next_multiple_of(4096);
        Ok(Module { address: end, size })
    };
    let ramdisk = payload.ramdisk.map(|file| {
        place(file.size()).map_err(|room| BuildError::Ramdisk { size: file.size(), room })
    });
    let ramdisk = ramdisk.transpose()?;
    let pv_kernel = payload.pv_kernel.map(|(file, command_line)| match place(file.size()) {
        Ok(module) => Ok((module, command_line)),
        Err(room) => Err(BuildError::PvKernel { size: file.size(), room }),
    });
    Ok(Modules { pv_kernel: pv_kernel.transpose()?, ramdisk })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use xen::units::KiB;

    use super::*;
    use crate::config::{Limits, Store};
    use crate::domain::Flavour;
    use crate::image::tests::kernel_with;

    const MIB: u64 = 1 << 20;

    /// Returns where a guest of 8 MiB, whose kernel ends at `end`, has a ramdisk of `size` bytes.
    fn place(end: u64, size: u64) -> Result<Option<Module>, BuildError> {
        let flavour = Flavour {
            memory: KiB(8192),
            vcpus: 1,
            console: true,
            vifs: 1,
            disks: 0,
            limits: Limits::default(),
            store: Store::Noxs,
        };
        let image = Arc::new(kernel_with(&[(end - 1, 1)]));
        let ramdisk = (size > 0).then(|| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&vec![7; usize::try_from(size).unwrap()]).unwrap();
            ModuleFile::new(file).unwrap()
        });
        let payload = Payload {
            image: &image,
            command_line: "",
            pv_kernel: None,
            ramdisk: ramdisk.as_ref(),
            vifs: &[],
            disks: &[],
        };
        Ok(place_modules(&Layout::new(&flavour), &payload)?.ramdisk)
    }

    #[test]
    fn a_ramdisk_has_the_highest_free_pages() {
        assert_eq!(place(4 * MIB, 0).unwrap(), None);
        for size in [1, 4096, 4097, 4 * MIB - 4096, 4 * MIB] {
            let Some(place) = place(4 * MIB, size).unwrap() else { panic!("{size}: no place") };
            assert_eq!(place.size, size);
            assert_eq!(place.address, (8 * MIB - size) & !4095, "{size}");
        }
    }

    #[test]
    fn a_ramdisk_shares_no_page_with_the_kernel() {
        for (end, size, room) in
            [(4 * MIB, 4 * MIB + 1, 4 * MIB), (4 * MIB + 1, 4 * MIB, 4 * MIB - 4096)]
        {
            let refused = place(end, size).unwrap_err();
            assert!(
                matches!(refused, BuildError::Ramdisk { size: s, room: r } if (s, r) == (size, room)),
                "{refused}"
            );
        }
        // The kernel itself does not fit.
        assert!(place(8 * MIB + 1, 1).is_err());
    }
}
