//! Why something cannot be done with a guest.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use xen::units::DomId;

use crate::backends::DevicesError;
use crate::backends::dom0_kernel::DiskError;
use crate::clients::noxsd::BackendError;
use crate::clients::xenstored::StoreError;
use crate::domain::BuildError;
use crate::failure::FailureClass;
use crate::image::ImageError;
use crate::records::RecordError;

/// Why something cannot be done with a guest.
#[derive(Debug, Error)]
pub enum LifecycleError {
    /// Xen cannot be used, or refused.
    #[error(transparent)]
    Xen(#[from] xen::Error),
    /// The kernel cannot be used.
    #[error("kernel {path} cannot be used")]
    Kernel {
        /// The kernel.
        path: PathBuf,
        /// Why.
        #[source]
        source: ImageError,
    },
    /// The ramdisk cannot be used.
    #[error("ramdisk {path} cannot be used")]
    Ramdisk {
        /// The ramdisk.
        path: PathBuf,
        /// Why.
        #[source]
        source: ImageError,
    },
    /// A shell cannot be built.
    #[error("a shell cannot be prepared")]
    Prepare(#[from] BuildError),
    /// The backends do not serve a shell.
    #[error("the devices of a shell cannot be connected")]
    Devices(#[from] BackendError),
    /// The domain cannot be built.
    #[error("guest {name} cannot be created")]
    Build {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: BuildError,
    },
    /// The backends do not serve it.
    #[error("the devices of {name} cannot be connected")]
    Backend {
        /// The guest.
        name: String,
        /// Why.
        #[source]
        source: BackendError,
    },
    /// A vif names a bridge that is not there.
    #[error(
        "bridge {bridge} of the guest's vif does not exist; make it (ip link add {bridge} type \
         bridge; ip link set {bridge} up) or name another one with bridge= in the vif"
    )]
    NoBridge {
        /// The bridge.
        bridge: String,
    },
    /// The tap to a bridge cannot be made.
    #[error("bridge {bridge} cannot be connected to noxsd")]
    Tap {
        /// The bridge.
        bridge: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// XenStore, or a backend that is announced in it, is of no use.
    #[error("the devices of a guest cannot be announced in XenStore")]
    Store(#[from] StoreError),
    /// A disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A record cannot be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The process's own facts or random numbers are missing.
    #[error("the system does not say who this process is or gives no random numbers")]
    Process(#[source] io::Error),
    /// There is no such guest.
    #[error("there is no guest {target}; see chaos list")]
    NoSuchGuest {
        /// What was asked for.
        target: String,
    },
    /// The domain is not ours.
    #[error("domain {domid} was not made by chaos; use the toolstack that made it (xl {domid})", domid = domid.0)]
    NotOurs {
        /// The domain.
        domid: DomId,
    },
    /// Another process is making the guest.
    #[error("domain {domid} is being created by another process", domid = domid.0)]
    BeingMade {
        /// The domain.
        domid: DomId,
    },
    /// The domain is a shell.
    #[error(
        "domain {domid} is a shell of chaosd's pool; chaos pool resize makes the pool smaller",
        domid = domid.0
    )]
    Shell {
        /// The domain.
        domid: DomId,
    },
    /// The guest has no record, so nothing is known of its devices.
    #[error("guest {target} has no usable record; chaos destroy {target} removes it")]
    NoRecord {
        /// What was asked for.
        target: String,
    },
    /// The guest has no console.
    #[error("guest {name} has no console (console=0 in its config)")]
    NoConsole {
        /// The guest.
        name: String,
    },
    /// What the guest prints is kept elsewhere.
    #[error(
        "guest {name} is in XenStore mode, where xenconsoled has its console and keeps no log for \
         chaos; see chaos console {name}, or start xenconsoled with --log=guest"
    )]
    NoLog {
        /// The guest.
        name: String,
    },
    /// The guest does not do what was asked.
    #[error("guest {name} does not support {request}; use chaos destroy {name}")]
    Unsupported {
        /// The guest.
        name: String,
        /// What was asked.
        request: &'static str,
    },
    /// The guest did not answer, or did not end, in time.
    #[error(
        "guest {name} has not {what} within {} s; use chaos destroy {name}, or a longer --timeout",
        after.as_secs_f32()
    )]
    TimedOut {
        /// The guest.
        name: String,
        /// What it should have done.
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// Ends of domains cannot be watched.
    #[error("cannot wait for the guest's end: {reason}")]
    Watch {
        /// Why.
        reason: String,
    },
}

impl LifecycleError {
    /// What kind of failure it is.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Kernel { .. }
            | Self::Ramdisk { .. }
            | Self::NoBridge { .. }
            | Self::Disk(_)
            | Self::Store(StoreError::NoBridge { .. })
            | Self::NoLog { .. }
            | Self::NoConsole { .. } => FailureClass::WrongInput,
            Self::Build { source, .. } | Self::Prepare(source) => build_class(source),
            Self::NoSuchGuest { .. } => FailureClass::NoSuchGuest,
            Self::TimedOut { .. } => FailureClass::TimedOut,
            Self::Backend { source, .. } | Self::Devices(source) => match source {
                BackendError::NotRunning { .. } | BackendError::Permission { .. } => {
                    FailureClass::NoDom0
                }
                _ => FailureClass::Failed,
            },
            Self::Store(StoreError::NotRunning { .. } | StoreError::Xenbus { .. }) => {
                FailureClass::NoDom0
            }
            Self::Xen(error) if error.is_no_dom0() => FailureClass::NoDom0,
            _ => FailureClass::Failed,
        }
    }

    /// The same error, of the making of the guest with this name.
    pub(super) fn about(self, name: &str) -> Self {
        let name = name.to_owned();
        match self {
            Self::Prepare(source) => Self::Build { name, source },
            Self::Devices(source) => Self::Backend { name, source },
            other => other,
        }
    }
}

impl From<DevicesError> for LifecycleError {
    fn from(error: DevicesError) -> Self {
        match error {
            DevicesError::Noxsd(source) => Self::Devices(source),
            DevicesError::Store(source) => Self::Store(source),
            DevicesError::Disk(source) => Self::Disk(source),
            DevicesError::Record(source) => Self::Record(source),
            DevicesError::NoBridge { bridge } => Self::NoBridge { bridge },
            DevicesError::Tap { bridge, source } => Self::Tap { bridge, source },
        }
    }
}

fn build_class(error: &BuildError) -> FailureClass {
    match error {
        BuildError::TooSmall { .. }
        | BuildError::Image(_)
        | BuildError::Ramdisk { .. }
        | BuildError::RamdiskFile(_)
        | BuildError::CommandLineTooLong { .. }
        | BuildError::CommandLineZero => FailureClass::WrongInput,
        _ => FailureClass::Failed,
    }
}
