// SPDX-License-Identifier: GPL-3.0-or-later
//! Puts files behind disks.

use std::rc::Rc;
use std::time::Instant;

use noxs_control::{DiskIdentity, DiskImage, DiskInUse, Refusal, Request, VbdDevice};

use super::device::Fault;
use super::{AttachedAs, DiskFile, DomainIndex, Domains, Task};
use crate::block::VbdFault;
use crate::block::image::{Image, ImageError};
use crate::console::Clients;
use crate::host::Host;

/// What is behind a disk; an error if it is lost.
pub(super) type FoundImage = Result<Image, String>;

impl<H: Host> Domains<H> {
    /// Returns what is behind the disks of a request; `None` if it does not say that.
    ///
    /// # Errors
    /// The request says it of some disks only, or a file cannot be used.
    pub(super) fn images(
        &mut self,
        vbds: &[VbdDevice],
        files: Vec<DiskFile>,
    ) -> Result<Option<Vec<FoundImage>>, Refusal> {
        let images = vbds.iter().filter_map(|vbd| vbd.image.as_ref());
        match images.clone().count() {
            0 if files.is_empty() => Ok(None),
            count if count == vbds.len() => self.open_images(images, files).map(Some),
            count => Err(Refusal::Invalid(format!(
                "{count} of {} disks have a file: must be all or none",
                vbds.len()
            ))),
        }
    }

    /// Checks and locks the files behind disks, in the order of their images.
    ///
    /// # Errors
    /// A file is missing, cannot be a disk, or is in use. None stays locked.
    pub(super) fn open_images<'a>(
        &mut self,
        images: impl Iterator<Item = &'a DiskImage> + Clone,
        files: Vec<DiskFile>,
    ) -> Result<Vec<FoundImage>, Refusal> {
        let (count, found) = (images.clone().count(), files.len());
        if count != found {
            return Err(Refusal::Invalid(format!(
                "{found} files of disks came with the request: must be {count}"
            )));
        }
        let open = |(image, file): (&DiskImage, DiskFile)| match file {
            DiskFile::Lost(why) => Ok(Err(why)),
            DiskFile::Locked(file) => Image::locked(image, file).map(Ok),
            // Its storage may not answer.
            DiskFile::Open(_) if self.disks.is_draining(image) => Err(self.in_use(image)),
            // The nodes of a block device have a lock each.
            DiskFile::Open(_)
                if matches!(image.identity, DiskIdentity::BlockDevice { .. })
                    && self.user_of(image).is_some() =>
            {
                Err(self.in_use(image))
            }
            DiskFile::Open(file) => match Image::new(image, file) {
                Ok(image) => Ok(Ok(image)),
                Err(ImageError::Refused(refusal)) => Err(refusal),
                Err(ImageError::Locked) => Err(self.in_use(image)),
            },
        };
        images.zip(files).map(open).collect()
    }

    /// Returns the first disk of a request whose file a guest that is gone has left operations on: it
    /// is locked until they are finished.
    pub fn draining<'a>(&self, request: &'a Request) -> Option<&'a DiskImage> {
        let (vbds, images): (&[VbdDevice], &[DiskImage]) = match request {
            Request::Attach(attach) | Request::AttachDevices(attach) => (&attach.vbds, &[]),
            Request::Configure { disks, .. } => (&[], disks),
            _ => return None,
        };
        let mut all = vbds.iter().filter_map(|vbd| vbd.image.as_ref()).chain(images);
        all.find(|image| self.disks.is_draining(image))
    }

    /// Returns the refusal of a disk that has another user.
    fn in_use(&self, image: &DiskImage) -> Refusal {
        let (path, domid) = (image.path.clone(), self.user_of(image));
        Refusal::DiskInUse(DiskInUse { path, domid })
    }

    /// Returns a domain that has this file behind a disk, if one of both writes it. Looks at each
    /// domain.
    fn user_of(&self, wanted: &DiskImage) -> Option<u16> {
        let is_other = |image: &Image| wanted.excludes(image.identity, image.geometry.read_only);
        self.slots.iter().find_map(|(_, domain)| {
            let vbds = domain.devices.iter().filter_map(|device| device.kind.vbd());
            let mut images = vbds.filter_map(|vbd| vbd.image());
            images.any(is_other).then_some(domain.id.domid)
        })
    }

    /// Divides the pages that the requests of a domain may take among its disks. Returns how many
    /// disks it has.
    pub(super) fn share_pages(&mut self, index: DomainIndex) -> usize {
        let devices = &mut self.slots[index.0].devices;
        let count = devices.iter().filter(|device| device.kind.vbd().is_some()).count();
        devices
            .iter_mut()
            .filter_map(|device| device.kind.vbd_mut())
            .for_each(|vbd| vbd.share(count));
        count
    }

    /// Puts files behind the disks of a domain that have none yet.
    pub(super) fn start_disks(
        &mut self,
        index: DomainIndex,
        images: Vec<FoundImage>,
        now: Instant,
        clients: &mut impl Clients,
    ) {
        let count = self.share_pages(index);
        let mut images = images.into_iter();
        for id in self.device_ids(index) {
            let domain = &mut *self.slots[index.0];
            let device = &mut domain.devices[id.device.0];
            let (Some(vbd), Some(port)) = (device.kind.vbd_mut(), device.port) else { continue };
            if vbd.is_started() {
                continue;
            }
            let Some(image) = images.next() else { break };
            let turn = self.turns.add(Task::Device(id));
            device.turn = Some(turn);
            let memory = Rc::clone(device.memory.as_ref().unwrap_or(&domain.memory));
            let guest = domain.guest;
            if domain.backoff.delay().is_some() {
                // The port may be masked since an event that no device was there for.
                self.unmask.push(port);
            }
            let started = match image {
                Ok(image) => vbd.start(&*memory, image, turn, count),
                Err(why) => Err(VbdFault::Lost(why)),
            };
            match started {
                Err(fault) => self.break_device(id, Fault::Block(fault), now, clients),
                Ok(_) if guest == AttachedAs::Running => self.resume(id),
                Ok(0) => {}
                Ok(_) => self.turns.queue(turn),
            }
        }
    }
}
