// SPDX-License-Identifier: GPL-3.0-or-later
//! What an error of an operation on a guest means for the caller: the exit code, and whether a retry may
//! succeed.

use std::io;
use std::path::Path;

use super::LifecycleError;
use crate::backends::DevicesError;
use crate::backends::dom0_kernel::{KernelError, ScriptError};
use crate::clients::noxsd::BackendError;
use crate::domain::BuildError;
use crate::dump::DumpError;
use crate::failure::FailureClass;
use crate::image::ImageError;
use crate::records::RecordError;

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
                | DevicesError::Dom0Kernel(
                    KernelError::NameTaken { .. }
                    | KernelError::Script(ScriptError::Unusable { .. }),
                )
                | DevicesError::Mtu { .. },
            )
            | Self::NoDevicePage { .. }
            | Self::UuidInUse { .. }
            | Self::WrongName { .. }
            | Self::DevicePageVersion { .. }
            | Self::NoIpv6 { .. }
            | Self::NoScripts { .. }
            | Self::Disk(_)
            | Self::DiskImage(_)
            | Self::NoLog { .. }
            | Self::Dump(DumpError::NotAFile { .. } | DumpError::Create { .. })
            | Self::Update(_)
            | Self::NoConsole { .. } => FailureClass::WrongInput,
            Self::Tune(error) if error.is_wrong_input() => FailureClass::WrongInput,
            Self::Devices(DevicesError::Nbd(source)) => source.class(),
            Self::Build(source) => build_class(source),
            Self::NoSuchGuest { .. } => FailureClass::NoSuchGuest,
            Self::TimedOut { .. } | Self::IsPaused { .. } => FailureClass::TimedOut,
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
    use nix::errno::Errno;
    use xen::units::{DomId, KiB};

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
