// SPDX-License-Identifier: GPL-3.0-or-later
//! Why an operation on a guest failed.

use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
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
use crate::failure::FailureClass;
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
    /// The guest would be announced in XenStore, where vifs cannot have names.
    #[error(
        "kernel {kernel} does not read the device page (it has no ELF note \"chaos\"), so dom0's kernel \
         serves its vifs and names them vifDOMID.NUMBER; remove vifname="
    )]
    VifNamed {
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
    /// Returns the class of the failure.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Guest { source, .. } => source.class(),
            Self::Kernel { .. }
            | Self::Ramdisk { .. }
            | Self::Devices(
                DevicesError::NoDisk { .. }
                | DevicesError::SameDisk { .. }
                | DevicesError::NoBridge { .. }
                | DevicesError::NotABridge { .. }
                | DevicesError::Mtu { .. },
            )
            | Self::NoDevicePage { .. }
            | Self::UuidInUse { .. }
            | Self::VifNamed { .. }
            | Self::WrongName { .. }
            | Self::DevicePageVersion { .. }
            | Self::NoIpv6 { .. }
            | Self::Disk(_)
            | Self::DiskImage(_)
            | Self::NoLog { .. }
            | Self::Dump(DumpError::NotAFile { .. } | DumpError::Create { .. })
            | Self::Update(_)
            | Self::NoConsole { .. } => FailureClass::WrongInput,
            Self::Tune(error) if error.is_wrong_input() => FailureClass::WrongInput,
            Self::Build(source) => build_class(source),
            Self::NoSuchGuest { .. } => FailureClass::NoSuchGuest,
            Self::TimedOut { .. } => FailureClass::TimedOut,
            Self::HotPlug(source) => source.class(),
            Self::Tuning(source) if source.is_wrong_input() => FailureClass::WrongInput,
            Self::Backend(BackendError::NotRunning { .. } | BackendError::Permission { .. }) => {
                FailureClass::NoDom0
            }
            Self::Store(source) | Self::NeedsXenStore { source, .. } if source.is_absent() => {
                FailureClass::NoDom0
            }
            Self::Xen(error) if error.is_no_dom0() => FailureClass::NoDom0,
            _ => FailureClass::Failed,
        }
    }

    /// Returns whether Xen had too little memory: a retry may succeed when a domain has freed some.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Guest { source, .. } => source.is_out_of_memory(),
            Self::Xen(source) | Self::Build(BuildError::Xen { source, .. }) => {
                source.is_out_of_memory()
            }
            Self::Build(BuildError::NoMemory { .. }) => true,
            _ => false,
        }
    }

    /// Returns whether the guest has ended, so that its console is closed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }

    /// Returns whether a create failed because a guest has the name.
    #[must_use]
    pub fn is_name_in_use(&self) -> bool {
        match self {
            Self::Guest { source, .. } => source.is_name_in_use(),
            Self::Record(error) => matches!(error, RecordError::NameInUse { .. }),
            _ => false,
        }
    }

    /// Returns whether a command is changing the guest's record or devices, so that the next attempt
    /// is likely to succeed.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Record(RecordError::Locked { .. }))
    }

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

    /// Returns the kernel or ramdisk that does not exist: a retry fails until the file exists.
    #[must_use]
    pub fn missing_file(&self) -> Option<&Path> {
        match self {
            Self::Guest { source, .. } => source.missing_file(),
            Self::Kernel { path, source: ImageError::Open(error) }
            | Self::Ramdisk { path, source: ImageError::Open(error) }
                if error.kind() == io::ErrorKind::NotFound =>
            {
                Some(path)
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
            | DevicesError::Dom0Kernel(_)) => Self::Devices(other),
        }
    }
}

fn build_class(error: &BuildError) -> FailureClass {
    match error {
        BuildError::TooSmall { .. }
        | BuildError::Image(_)
        | BuildError::Ramdisk { .. }
        | BuildError::RamdiskFile(_)
        | BuildError::PvKernel { .. }
        | BuildError::PvKernelFile(_)
        | BuildError::CommandLineTooLong { .. }
        | BuildError::CommandLineZero => FailureClass::WrongInput,
        _ => FailureClass::Failed,
    }
}

#[cfg(test)]
mod tests {
    use xen::units::KiB;

    use super::*;
    use daemon::chain::chain;

    use crate::clients::noxsd::NOXSD;

    fn no_memory() -> LifecycleError {
        BuildError::NoMemory { wanted: KiB(4096), free: KiB(12) }.into()
    }

    fn missing() -> LifecycleError {
        let source = ImageError::Open(io::Error::from_raw_os_error(Errno::ENOENT as i32));
        LifecycleError::Kernel { path: "/boot/k".into(), source }
    }

    #[test]
    fn too_little_memory_and_a_missing_file_are_distinguished() {
        assert!(no_memory().is_out_of_memory() && no_memory().missing_file().is_none());
        assert!(!missing().is_out_of_memory());
        assert_eq!(missing().missing_file(), Some(Path::new("/boot/k")));
        let text = chain(&missing());
        assert!(text.contains("a relative path begins at the working directory"), "{text}");
        let no_more_pages = xen::Error::ShortPopulate { domid: DomId(3), done: 1, wanted: 2 };
        let source = BuildError::Xen { doing: "populate", source: no_more_pages };
        assert!(LifecycleError::Build(source).is_out_of_memory());
        let source = ImageError::Open(io::Error::from_raw_os_error(Errno::EACCES as i32));
        let forbidden = LifecycleError::Kernel { path: "/boot/k".into(), source };
        assert_eq!(forbidden.missing_file(), None);
    }

    #[test]
    fn an_error_about_a_guest_has_the_class_of_its_cause() {
        let error = no_memory().about("create", "web");
        assert!(error.is_out_of_memory());
        assert_eq!(error.class(), FailureClass::Failed);
        let text = chain(&error);
        assert!(text.starts_with("cannot create guest web: not enough free memory:"), "{text}");
        let error = missing().about("create", "web");
        assert_eq!(error.missing_file(), Some(Path::new("/boot/k")));
        assert_eq!(error.class(), FailureClass::WrongInput);
        let not_running = BackendError::NotRunning { daemon: &NOXSD, path: "/run/noxsd".into() };
        let error = LifecycleError::from(not_running).about("create", "web");
        assert_eq!(error.class(), FailureClass::NoDom0);
        assert_eq!(chain(&error).matches("noxsd is not running").count(), 1);
    }
}
