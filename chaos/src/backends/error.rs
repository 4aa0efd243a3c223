//! Why the devices of a guest cannot be served.

use std::io;

use thiserror::Error;

use super::dom0_kernel::DiskError;
use crate::clients::noxsd::BackendError;
use crate::clients::xenstored::StoreError;
use crate::records::RecordError;

/// Why the devices of a guest cannot be served.
#[derive(Debug, Error)]
pub enum DevicesError {
    /// noxsd does not do it.
    #[error(transparent)]
    Noxsd(#[from] BackendError),
    /// XenStore, or a backend that is announced in it, cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file of the records cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A vif names a bridge that does not exist.
    #[error("bridge {bridge} of the guest's vif does not exist")]
    NoBridge {
        /// The bridge.
        bridge: String,
    },
    /// The tap to a bridge cannot be opened.
    #[error("bridge {bridge} cannot be connected to noxsd")]
    Tap {
        /// The bridge.
        bridge: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}
