//! What can be done with a guest, from its creation to its end (`docs/lifecycle.md`).

mod announced;
mod console;
mod create;
mod destroy;
mod ended;
mod error;
mod list;
mod nic;
mod pause;
mod resolve;
mod shell;
mod shutdown;
mod watch;

use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use xen::Xen;

use crate::clients::noxsd::Link;
use crate::clients::xenstored;
use crate::image::{Image, ImageCache, ImageError};
use crate::records::Records;

pub use console::{console, read_log};
pub use create::{
    CreateOptions, Created, GuestRequest, create, create_from, execute_shell, shell_kind,
};
pub use destroy::{Cleared, Destroyed, clear, destroy};
pub use ended::{EndedGuest, ended, ended_guest, remove_ended, rename_ended};
pub use error::LifecycleError;
pub use list::{BrokenDevice, ListedGuest, ListedVif, list};
pub use pause::{pause, unpause};
pub use resolve::{Condition, Guest, GuestState, resolve};
pub use shell::{AttachedShell, ParkedAttachedShell, ShellKind, prepare_shell};
pub use shutdown::{ShutdownOptions, ShutdownOutcome, shutdown};
pub use watch::DomainWatch;

/// What everything is done on: Xen, the records, and `noxsd`.
#[derive(Clone, Debug)]
pub struct Host {
    /// Xen.
    pub xen: Rc<Xen>,
    /// The records.
    pub records: Records,
    /// `noxsd`.
    pub noxsd: Rc<Link>,
    /// xenstored, for guests in XenStore mode.
    pub xenstored: Rc<xenstored::Link>,
    /// Kernels that have been read. Without it, kernels are not kept.
    pub images: Option<Rc<RefCell<ImageCache>>>,
}

/// Most bytes of kernels that are kept: enough for a few unpacked Linux kernels.
const IMAGE_CACHE_BYTES: usize = 256 << 20;

impl Host {
    /// This machine, with everything in its usual place, for a process that does one thing.
    ///
    /// # Errors
    /// There is no Xen, this is not dom0, or the user is not root.
    pub fn open() -> Result<Self, LifecycleError> {
        Ok(Self {
            xen: Rc::new(Xen::open()?),
            records: Records::default(),
            noxsd: Rc::new(Link::new(PathBuf::from(noxs_control::SOCKET))),
            xenstored: Rc::default(),
            images: None,
        })
    }

    /// The same for a process that makes many guests: it keeps the kernels it has read.
    ///
    /// # Errors
    /// As [`Host::open`].
    pub fn open_caching() -> Result<Self, LifecycleError> {
        let images = Some(Rc::new(RefCell::new(ImageCache::new(IMAGE_CACHE_BYTES))));
        Ok(Self { images, ..Self::open()? })
    }

    /// A kernel.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn image(&self, path: &Path) -> Result<Arc<Image>, ImageError> {
        match &self.images {
            Some(images) => images.borrow_mut().open(path),
            None => Image::open_unread(path).map(Arc::new),
        }
    }

    /// A kernel whose file is open already.
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
