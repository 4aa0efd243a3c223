//! What can be done with a guest, from its creation to its end (`docs/lifecycle.md`).

mod classify;
mod console;
mod create;
mod destroy;
mod ended;
mod error;
mod list;
mod name;
mod pause;
mod resolve;
mod shell;
mod shutdown;
mod state;
mod vif_plan;
mod watch;

use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use xen::Xen;

use crate::backends::Links;
use crate::clients::noxsd::Link;
use crate::clients::xenstored;
use crate::image::{Image, ImageCache, ImageError};
use crate::records::Records;

pub use classify::{Condition, CreatorFacts, FoundRecord, classify};
pub use console::{console, read_log};
pub use create::{
    CreateOptions, Created, GuestRequest, create, create_from, execute_shell, shell_kind,
};
pub use destroy::{Cleared, Destroyed, clear, destroy};
pub use ended::{EndedGuest, ended, ended_guest, remove_ended, rename_ended};
pub use error::LifecycleError;
pub use list::{BrokenDevice, ListedGuest, ListedVif, list};
pub use pause::{pause, unpause};
pub use resolve::{Guest, resolve};
pub use shell::{AttachedShell, ParkedAttachedShell, ShellKind, prepare_shell};
pub use shutdown::{ShutdownOptions, ShutdownOutcome, shutdown};
pub use state::GuestState;
pub use watch::DomainWatch;

/// The machine: Xen, the records, and the ways to the daemons.
#[derive(Debug)]
pub struct Host<H = Xen> {
    /// Xen.
    pub xen: Rc<H>,
    /// The records.
    pub records: Records,
    /// `noxsd`.
    pub noxsd: Rc<Link>,
    /// xenstored, for guests that find their devices in XenStore.
    pub xenstored: Rc<xenstored::Link>,
    /// Kernels that have been read. Without it, kernels are not kept.
    pub images: Option<Rc<RefCell<ImageCache>>>,
}

/// Most bytes of kernels that are kept: enough for a few unpacked Linux kernels.
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
    /// Opens this machine, with everything in its usual place, for a process that does one thing.
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

    /// Opens it for a process that creates many guests: it keeps the kernels it has read.
    ///
    /// # Errors
    /// As [`Host::open`].
    pub fn open_caching() -> Result<Self, LifecycleError> {
        let images = Some(Rc::new(RefCell::new(ImageCache::new(IMAGE_CACHE_BYTES))));
        Ok(Self { images, ..Self::open()? })
    }
}

impl<H> Host<H> {
    /// Returns what the backends need of the host.
    pub(crate) fn links(&self) -> Links<'_> {
        Links { noxsd: &self.noxsd, xenstored: &self.xenstored, records: &self.records }
    }

    /// Opens a kernel.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn image(&self, path: &Path) -> Result<Arc<Image>, ImageError> {
        match &self.images {
            Some(images) => images.borrow_mut().open(path),
            None => Image::open_unread(path).map(Arc::new),
        }
    }

    /// Reads a kernel whose file is open already.
    ///
    /// # Errors
    /// As [`Image::from_file`].
    pub fn image_in(&self, file: &File) -> Result<Arc<Image>, ImageError> {
        match &self.images {
            Some(images) => images.borrow_mut().from_file(file),
            None => Image::from_file(file).map(Arc::new),
        }
    }
}

#[cfg(test)]
mod tests;
