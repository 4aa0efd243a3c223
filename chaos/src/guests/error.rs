// SPDX-License-Identifier: GPL-3.0-or-later
//! Why an operation on a guest failed.

mod class;

use std::io;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use noxs_control::Refusal;
use thiserror::Error;
use xen::units::{DomId, DomainHandle};

use super::conflict::{AddressConflict, Conflict, DiskConflict};
use super::hot_plug::HotPlugError;
use super::state::GuestState;
use super::tuning::TuningError;
use super::update_config::UpdateError;
use crate::backends::DevicesError;
use crate::backends::dom0_kernel::DiskError;
use crate::clients::noxsd::BackendError;
use crate::clients::xenstored::StoreError;
use crate::config::NameError;
use crate::domain::{BuildError, TuneError};
use crate::dump::DumpError;
use crate::image::ImageError;
use crate::records::RecordError;

/// Why an operation on a guest failed.
#[derive(Debug, Error)]
pub enum LifecycleError {
    /// Xen cannot be used, or it refused.
    #[error(transparent)]
    Xen(#[from] xen::Error),
    /// The kernel cannot be used.
    #[error("cannot use kernel {path}")]
    Kernel {
        /// The kernel.
        path: PathBuf,
        /// Why.
        #[source]
        source: ImageError,
    },
    /// The host does not have what the config asks for.
    #[error(transparent)]
    Tune(#[from] TuneError),
    /// Another domain has the UUID.
    #[error("uuid = \"{uuid}\": domain {domid} has this UUID; destroy it, or write another one")]
    UuidInUse {
        /// The UUID.
        uuid: DomainHandle,
        /// The domain that has it.
        domid: DomId,
    },
    /// The config demands the device page, which the kernel does not read.
    #[error(
        "kernel {kernel} does not read the device page (it has no ELF note \"chaos\"), so the guest \
         would have no console and no network; set store = \"xenstore\""
    )]
    NoDevicePage {
        /// The kernel.
        kernel: PathBuf,
    },
    /// The kernel does not read the device page, and the guest cannot be announced in XenStore.
    #[error(
        "kernel {kernel} does not read the device page (it has no ELF note \"chaos\"), and its devices \
         cannot be announced in XenStore"
    )]
    NeedsXenStore {
        /// The kernel.
        kernel: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The kernel reads another version of the device page.
    #[error(
        "kernel {kernel} reads version {found} of the device page: must be {}; build it with the \
         runtime of this chaos",
        noxs::layout::VERSION_MAJOR
    )]
    DevicePageVersion {
        /// The kernel.
        kernel: PathBuf,
        /// The major version.
        found: u16,
    },
    /// A vif has an IPv6 address, which the kernel would not use.
    #[error(
        "vif{vif} has the IPv6 address {address}, and kernel {kernel} was built without IPv6: remove \
         the address from ip=, or build the kernel with the feature ipv6 of its runtime"
    )]
    NoIpv6 {
        /// The kernel.
        kernel: PathBuf,
        /// The number of the vif.
        vif: usize,
        /// Its address.
        address: Ipv6Addr,
    },
    /// A vif has a script, and the kernel cannot use a vif of dom0's kernel.
    #[error(
        "vif{vif} has script=, for which dom0's kernel must serve it, and kernel {kernel} reads its \
         devices from the device page only (it has the ELF note \"chaos\", and none of an operating \
         system): remove script=, and name a bridge of Linux with bridge="
    )]
    NoScripts {
        /// The kernel.
        kernel: PathBuf,
        /// The number of the vif.
        vif: usize,
    },
    /// The ramdisk cannot be used.
    #[error("cannot use ramdisk {path}")]
    Ramdisk {
        /// The ramdisk.
        path: PathBuf,
        /// Why.
        #[source]
        source: ImageError,
    },
    /// The domain cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// `noxsd` does not serve the devices.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The operation and the guest, around the error itself.
    #[error("cannot {doing} guest {name}")]
    Guest {
        /// The operation.
        doing: &'static str,
        /// The guest.
        name: String,
        /// The error.
        #[source]
        source: Box<LifecycleError>,
    },
    /// A vif's bridge cannot be used, or dom0's kernel does not serve a device.
    #[error(transparent)]
    Devices(DevicesError),
    /// XenStore cannot be used.
    #[error("cannot announce the devices in XenStore")]
    Store(#[from] StoreError),
    /// A disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What is behind a disk cannot be used.
    #[error(transparent)]
    DiskImage(#[from] disk::DiskError),
    /// The file behind a disk is in use.
    #[error(transparent)]
    DiskInUse(Box<DiskConflict>),
    /// An address of a vif is in use.
    #[error(transparent)]
    AddressInUse(Box<AddressConflict>),
    /// A record cannot be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The kernel does not return what handles and MAC addresses are derived from.
    #[error("cannot get random numbers or the time since boot from the kernel")]
    Process(#[source] io::Error),
    /// There is no such guest.
    #[error("there is no guest {target}; see chaos list")]
    NoSuchGuest {
        /// The name or domid that was asked for.
        target: String,
    },
    /// The text cannot be the name of a guest.
    #[error("name {name:?}")]
    WrongName {
        /// The text.
        name: String,
        /// Why not.
        #[source]
        source: NameError,
    },
    /// chaosd is to restart a guest of this name.
    #[error(
        "chaosd is to restart a guest called {name}; choose another name, or cancel the restart: chaos \
         destroy {name}"
    )]
    NamePending {
        /// The name.
        name: String,
    },
    /// Another toolstack created the domain.
    #[error(
        "domain {domid} was not created by chaos, which never touches the domains of another \
         toolstack; use that one, such as xl",
        domid = domid.0
    )]
    NotOurs {
        /// The domain.
        domid: DomId,
    },
    /// Another toolstack created the domain, and XenStore has no name of it.
    #[error(
        "domain {domid} was not created by chaos, and XenStore, where other toolstacks store names, has \
         none of it; see xl list"
    )]
    Unnamed {
        /// The domain.
        domid: DomId,
    },
    /// Another process is creating the guest.
    #[error(
        "domain {domid} is being created by another process; try again when that has finished",
        domid = domid.0
    )]
    BeingCreated {
        /// The domain.
        domid: DomId,
    },
    /// The domain is a shell.
    #[error(
        "domain {domid} is a shell of chaosd's pool; shrink the pool with chaos pool resize",
        domid = domid.0
    )]
    Shell {
        /// The domain.
        domid: DomId,
    },
    /// The guest has no usable record, so its devices are not known.
    #[error("guest {target} has no usable record; remove it with chaos destroy {target}")]
    NoRecord {
        /// The name or domid that was asked for.
        target: String,
    },
    /// The guest has ended, so its console prints nothing more.
    #[error(
        "guest {name} {}, so its console is closed; see chaos log {name}, or remove it with chaos \
         destroy {name}", ended(*.state)
    )]
    Ended {
        /// The guest.
        name: String,
        /// How it has ended.
        state: GuestState,
    },
    /// The guest has no console.
    #[error("guest {name} has no console; set console=1 in its config and create it again")]
    NoConsole {
        /// The guest.
        name: String,
    },
    /// xenconsoled keeps the log of the guest's console.
    #[error(
        "guest {name} is in XenStore mode, where xenconsoled serves its console and keeps its log; \
         use chaos console {name}, or start xenconsoled with --log=guest"
    )]
    NoLog {
        /// The guest.
        name: String,
    },
    /// The guest does not support the request.
    #[error("guest {name} does not support {request}; use chaos destroy {name}")]
    Unsupported {
        /// The guest.
        name: String,
        /// The request.
        request: &'static str,
    },
    /// The guest did not answer, or did not exit, in time.
    #[error(
        "guest {name} has not {what} within {} s; use chaos destroy {name}, or a longer --timeout",
        after.as_secs_f32()
    )]
    TimedOut {
        /// The guest.
        name: String,
        /// What it should have done.
        what: &'static str,
        /// How long chaos waited.
        after: Duration,
    },
    /// The guest did not answer in time, because it is paused.
    #[error(
        "guest {name} has not answered within {} s, because it is paused; let it run: chaos unpause {name}",
        after.as_secs_f32()
    )]
    IsPaused {
        /// The guest.
        name: String,
        /// How long chaos waited.
        after: Duration,
    },
    /// The guest has ended, so nothing can be asked of it.
    #[error("guest {name} {} already; chaos destroy {name} removes it", ended(*.state))]
    HasEnded {
        /// The guest.
        name: String,
        /// How it has ended.
        state: GuestState,
    },
    /// The devices of the running guest cannot be changed.
    #[error(transparent)]
    HotPlug(#[from] HotPlugError),
    /// The exits of domains cannot be watched.
    #[error("cannot wait for the guest to exit")]
    Watch(#[from] WatchError),
    /// A core file cannot be written.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The memory or the vCPUs of the guest cannot be changed.
    #[error(transparent)]
    Tuning(#[from] TuningError),
    /// The config that the guest is restarted with cannot be replaced.
    #[error(transparent)]
    Update(#[from] UpdateError),
}

/// Why the exits of domains cannot be watched.
#[derive(Debug, Error)]
pub enum WatchError {
    /// `noxsd` does not pass the events on.
    #[error(transparent)]
    Noxsd(BackendError),
    /// `noxsd` has exited.
    #[error("noxsd closed the connection; restart it if it is not running")]
    Closed,
    /// The connection to `noxsd` broke.
    #[error("the connection to noxsd is lost; check that noxsd runs")]
    Lost(#[source] Errno),
    /// Another process receives the events.
    #[error("cannot bind VIRQ_DOM_EXC, which another process holds; start noxsd or xenstored")]
    Virq(#[source] xen::Error),
    /// The kernel refused to wait for an event.
    #[error("cannot wait for an event")]
    Wait(#[source] Errno),
}

impl LifecycleError {
    /// Returns what noxsd refused because it is in use.
    pub(super) fn conflict(&self) -> Option<Conflict> {
        match self {
            Self::Backend(BackendError::Refused(Refusal::AddressInUse(in_use))) => {
                Some(Conflict::Address(*in_use))
            }
            Self::Backend(BackendError::Refused(Refusal::DiskInUse(in_use))) => {
                Some(Conflict::Disk(in_use.clone()))
            }
            _ => None,
        }
    }

    /// Adds the operation and the guest.
    pub(crate) fn about(self, doing: &'static str, name: &str) -> Self {
        Self::Guest { doing, name: name.to_owned(), source: Box::new(self) }
    }
}

/// Says how a guest has ended, in a sentence about it.
pub(super) fn ended(state: GuestState) -> String {
    match state {
        GuestState::Gone | GuestState::Dying => format!("is {}", state.as_str()),
        state => format!("has {}", state.as_str()),
    }
}

impl From<DevicesError> for LifecycleError {
    fn from(error: DevicesError) -> Self {
        match error {
            DevicesError::Noxsd(source) => Self::Backend(source),
            DevicesError::Store(source) => Self::Store(source),
            DevicesError::Disk(source) => Self::Disk(source),
            DevicesError::Image(source) => Self::DiskImage(source),
            DevicesError::Record(source) => Self::Record(source),
            other @ (DevicesError::NoDisk { .. }
            | DevicesError::SameDisk { .. }
            | DevicesError::NoBridge { .. }
            | DevicesError::NotABridge { .. }
            | DevicesError::Tap { .. }
            | DevicesError::Mtu { .. }
            | DevicesError::Nbd(_)
            | DevicesError::Dom0Kernel(_)) => Self::Devices(other),
        }
    }
}
