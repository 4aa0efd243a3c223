//! What can be done with a guest, from its creation to its end (`docs/lifecycle.md`).

mod console;
mod create;
mod destroy;
mod error;
mod list;
mod resolve;
mod shutdown;
mod watch;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use noxs::control;
use xen::Xen;

use crate::backend::{BackendError, Noxsd};
use crate::image::ImageCache;
use crate::record::Records;

pub use console::{console, read_log};
pub use create::{CreateOptions, Created, create};
pub use destroy::{Destroyed, destroy};
pub use error::LifecycleError;
pub use list::{BrokenDevice, ListedGuest, list};
pub use resolve::{Condition, Guest, GuestState, resolve};
pub use shutdown::{ShutdownOptions, ShutdownOutcome, shutdown};
pub use watch::DomainWatch;

/// What everything is done on: Xen, the records, and `noxsd`.
#[derive(Clone, Debug)]
pub struct Host {
    /// Xen.
    pub xen: Rc<Xen>,
    /// The records.
    pub records: Records,
    /// Where `noxsd` listens.
    pub noxsd: PathBuf,
    /// Kernels that have been read.
    pub images: Rc<RefCell<ImageCache>>,
}

/// Most bytes of kernels that are kept: enough for a few unpacked Linux kernels.
const IMAGE_CACHE_BYTES: usize = 256 << 20;

impl Host {
    /// This machine, with everything in its usual place.
    ///
    /// # Errors
    /// There is no Xen, this is not dom0, or the user is not root.
    pub fn open() -> Result<Self, LifecycleError> {
        let xen = Rc::new(Xen::open()?);
        Ok(Self {
            xen,
            records: Records::default(),
            noxsd: PathBuf::from(control::SOCKET),
            images: Rc::new(RefCell::new(ImageCache::new(IMAGE_CACHE_BYTES))),
        })
    }

    /// Connects to `noxsd`.
    ///
    /// # Errors
    /// It does not run, or does not talk to this user.
    pub fn connect_noxsd(&self) -> Result<Noxsd, BackendError> {
        Noxsd::connect(&self.noxsd)
    }
}
