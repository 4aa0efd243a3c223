// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a guest that has ended cannot be restarted or removed.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use chaos::bootloader::BootloaderError;
use chaos::guests::LifecycleError;
use chaos::records::RecordError;
use thiserror::Error;

/// Why a guest that has ended cannot be restarted or removed.
#[derive(Debug, Error)]
pub enum RestartError {
    /// The storage of the guest's kernel or ramdisk does not answer.
    #[error("the storage of {path}, which the guest boots from, does not answer")]
    Silent {
        /// The kernel.
        path: PathBuf,
    },
    /// The guest's kernel is being read. The restart is tried again when it was.
    #[error("its kernel is being read")]
    Reading,
    /// The guest's bootloader runs. The restart is tried again when it has ended.
    #[error("its bootloader is running")]
    Booting,
    /// The guest's bootloader has found no kernel.
    #[error(transparent)]
    Bootloader(#[from] BootloaderError),
    /// The record has a bootloader and no disk, or the reverse.
    #[error("its record has no disk for its bootloader; create the guest again")]
    NoBootDisk,
    /// A thread creates the guest, because programs of dom0 work for it.
    #[error("a thread creates it")]
    InThread,
    /// The thread that creates the guest cannot be started.
    #[error("cannot start the thread that creates it")]
    Thread(#[source] io::Error),
    /// The guest's owner has used up a share of chaosd's time, and waits.
    #[error("its owner's guests wait")]
    Resting {
        /// Until when.
        until: Instant,
    },
    /// The files that a user uploaded are gone.
    #[error(
        "the kernel that user {owner} uploaded is gone, because chaosd was restarted since; user \
         {owner} can create the guest again"
    )]
    NoFiles {
        /// The user.
        owner: u32,
    },
    /// The guest's owner may not have it.
    #[error(transparent)]
    NotAllowed(Box<dyn Error + Send + Sync>),
    /// The guest cannot be created or removed.
    #[error(transparent)]
    Guest(#[from] LifecycleError),
    /// The pending restart cannot be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The pending restart is another guest's.
    #[error("its pending restart is that of guest {found}; remove it with chaos destroy")]
    OtherName {
        /// The guest in the pending restart.
        found: String,
    },
}

/// What prevents a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Xen has too little free memory. A retry succeeds when another guest has freed some.
    NoMemory,
    /// The kernel, the ramdisk, the bootloader or its disk does not exist. Retries fail until it is put back.
    MissingFile,
    /// Anything else.
    Other,
}

impl RestartError {
    /// Returns whether a command is changing the guest's record, so that the next attempt is likely
    /// to succeed.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        match self {
            Self::Guest(error) => error.is_locked(),
            Self::Record(RecordError::Locked { .. }) => true,
            _ => false,
        }
    }

    /// Returns whether the end of a guest can be handled later: a record cannot be written now, for
    /// example because `/run` is full, or the storage of the guest's files does not answer.
    #[must_use]
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Silent { .. }
                | Self::Guest(LifecycleError::Record(RecordError::File { .. }))
                | Self::Record(RecordError::File { .. })
        )
    }

    /// Returns what prevents the restart.
    #[must_use]
    pub fn obstacle(&self) -> Obstacle {
        match self {
            Self::Guest(error) if error.is_out_of_memory() => Obstacle::NoMemory,
            Self::Guest(error) if error.missing_file().is_some() => Obstacle::MissingFile,
            Self::Bootloader(error) if error.is_missing_file() => Obstacle::MissingFile,
            _ => Obstacle::Other,
        }
    }
}

impl Obstacle {
    /// Returns the remedy, for the log.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::NoMemory => "chaosd retries when a domain has freed memory",
            Self::MissingFile => {
                "put the file back; chaosd retries when a domain exits and on SIGHUP"
            }
            Self::Other => "chaosd retries when a domain exits",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use chaos::domain::BuildError;
    use chaos::image::ModuleFile;
    use xen::units::KiB;

    use super::*;

    #[test]
    fn too_little_memory_and_a_missing_file_are_different_obstacles() {
        let build = BuildError::NoMemory { wanted: KiB(4096), free: KiB(0) };
        let no_memory = RestartError::Guest(build.into());
        assert_eq!(no_memory.obstacle(), Obstacle::NoMemory);

        let path = PathBuf::from("/does/not/exist");
        let source = ModuleFile::open(&path).unwrap_err();
        let missing_later = RestartError::Guest(LifecycleError::Ramdisk { path, source });
        assert_eq!(missing_later.obstacle(), Obstacle::MissingFile);

        let source = ModuleFile::open(Path::new("/tmp")).unwrap_err();
        let folder = LifecycleError::Ramdisk { path: "/tmp".into(), source };
        assert_eq!(RestartError::Guest(folder).obstacle(), Obstacle::Other);
        let program = "/no/such".into();
        let gone = BootloaderError::Missing { program, remedy: "install it".into() };
        assert_eq!(RestartError::from(gone).obstacle(), Obstacle::MissingFile);
        for (kind, obstacle) in [
            (io::ErrorKind::NotFound, Obstacle::MissingFile),
            (io::ErrorKind::PermissionDenied, Obstacle::Other),
        ] {
            let disk = BootloaderError::Disk { disk: "/disk".into(), source: kind.into() };
            assert_eq!(RestartError::from(disk).obstacle(), obstacle);
        }
        let other = RestartError::OtherName { found: "b".to_owned() };
        assert_eq!(other.obstacle(), Obstacle::Other);
        assert_ne!(Obstacle::NoMemory.remedy(), Obstacle::MissingFile.remedy());
    }
}
