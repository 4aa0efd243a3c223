// SPDX-License-Identifier: GPL-3.0-or-later
//! The host, as all operations on guests use it.

use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use xen::Xen;
use xen::units::KiB;

use super::error::LifecycleError;
use crate::backends::Links;
use crate::clients::noxsd::Link;
use crate::clients::xenstored;
use crate::image::{Image, ImageCache, ImageError, ImageKey, SizeLimit};
use crate::records::Records;

/// The host: Xen, the records, and the connections to the daemons.
#[derive(Debug)]
pub struct Host<H = Xen> {
    /// Xen.
    pub xen: Rc<H>,
    /// The records.
    pub records: Records,
    /// `noxsd`.
    pub noxsd: Rc<Link>,
    /// `xenstored`, for guests that find their devices in XenStore.
    pub xenstored: Rc<xenstored::Link>,
    /// The kernels that were read, if this process keeps them.
    pub images: Option<Rc<RefCell<ImageCache>>>,
}

/// Whether a kernel must be read.
#[derive(Debug)]
pub enum KnownImage {
    /// It was read before.
    Read(Arc<Image>),
    /// It must be read, with [`Image::read`].
    Unread {
        /// The file.
        key: ImageKey,
        /// The most bytes that it may take.
        limit: SizeLimit,
    },
}

/// Limit of the kept kernels in bytes: enough for a few unpacked Linux kernels.
const IMAGE_CACHE_BYTES: usize = 256 << 20;

impl<H> Clone for Host<H> {
    fn clone(&self) -> Self {
        Self {
            xen: Rc::clone(&self.xen),
            records: self.records.clone(),
            noxsd: Rc::clone(&self.noxsd),
            xenstored: Rc::clone(&self.xenstored),
            images: self.images.clone(),
        }
    }
}

impl Host {
    /// Opens this host, with everything in its default place, for a process that carries out one
    /// request.
    ///
    /// # Errors
    /// There is no Xen, this is not dom0, or the user is not root.
    pub fn open() -> Result<Self, LifecycleError> {
        Ok(Self {
            xen: Rc::new(Xen::open_for_one_guest()?),
            records: Records::default(),
            noxsd: Rc::new(Link::new(PathBuf::from(noxs_control::SOCKET))),
            xenstored: Rc::default(),
            images: None,
        })
    }

    /// Opens this host for a process that creates many guests: it keeps the kernels that it has
    /// read.
    ///
    /// # Errors
    /// As [`Host::open`].
    pub fn open_caching() -> Result<Self, LifecycleError> {
        let images = Some(Rc::new(RefCell::new(ImageCache::new(IMAGE_CACHE_BYTES))));
        Ok(Self { images, ..Self::open()? })
    }
}

impl<H> Host<H> {
    /// Returns the connections and records that the backends need.
    pub(crate) fn links(&self) -> Links<'_> {
        Links { noxsd: &self.noxsd, xenstored: &self.xenstored, records: &self.records }
    }

    /// Opens a kernel for a guest with this memory.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn image(&self, path: &Path, memory: KiB) -> Result<Arc<Image>, ImageError> {
        let limit = SizeLimit::of_guest(memory);
        match &self.images {
            Some(images) => images.borrow_mut().open(path, limit),
            None => Image::open_unread(path, limit).map(Arc::new),
        }
    }

    /// Returns a kernel for a guest with this memory, if it was read before. Reading takes long if
    /// the kernel is packed, so a process that serves others does it in another thread, and then
    /// calls [`keep_image`](Self::keep_image).
    ///
    /// # Errors
    /// It was refused before, or its metadata cannot be read.
    pub fn known_image(&self, file: &File, memory: KiB) -> Result<KnownImage, ImageError> {
        let (key, limit) = (ImageKey::of(file)?, SizeLimit::of_guest(memory));
        match self.images.as_ref().and_then(|images| images.borrow_mut().find(key, limit)) {
            Some(known) => known.map(KnownImage::Read),
            None => Ok(KnownImage::Unread { key, limit }),
        }
    }

    /// Keeps what [`Image::read`] has returned.
    ///
    /// # Errors
    /// The error of `read`.
    pub fn keep_image(
        &self,
        key: ImageKey,
        limit: SizeLimit,
        read: Result<Image, ImageError>,
    ) -> Result<Arc<Image>, ImageError> {
        match &self.images {
            Some(images) => images.borrow_mut().keep(key, limit, read),
            None => read.map(Arc::new),
        }
    }

    /// Reads a kernel for a guest with this memory from an open file.
    ///
    /// # Errors
    /// As [`Image::read`].
    pub fn image_in(&self, file: &File, memory: KiB) -> Result<Arc<Image>, ImageError> {
        let limit = SizeLimit::of_guest(memory);
        match &self.images {
            Some(images) => images.borrow_mut().from_file(file, limit),
            None => Image::read(file, ImageKey::of(file)?, limit).map(Arc::new),
        }
    }
}
