// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a path cannot be a guest's disk.

use std::io;
use std::path::{Path, PathBuf};

/// Why a path cannot be a guest's disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// It cannot be opened.
    #[error("cannot open disk {path}")]
    Open {
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// It does not exist.
    #[error("disk {path} does not exist{}", creation(.path))]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot open disk {path} for writing; let the guest only read it: access=r")]
    ReadOnly {
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel refuses writes to the block device.
    #[error("disk {path} is read-only in dom0; let the guest only read it: access=r")]
    ReadOnlyDevice {
        /// The path.
        path: PathBuf,
    },
    /// The kernel has given the block device to another user.
    #[error(
        "disk {path} is in use in dom0: it is mounted, or another program has opened it for itself; \
         release it first"
    )]
    Claimed {
        /// The path.
        path: PathBuf,
    },
    /// dom0's kernel serves the block device to a guest.
    #[error("disk {path} is in use: domain {domid} has it; destroy that domain first")]
    Served {
        /// The path.
        path: PathBuf,
        /// The guest's domain.
        domid: u16,
    },
    /// It is neither a file nor a block device.
    #[error("disk {path} is {found}: must be a file or a block device")]
    Kind {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A descriptor that came from another process was opened for something else.
    #[error(
        "the file descriptor of disk {path} must be opened for {}",
        if *.read_only { "reading only" } else { "reading and writing" }
    )]
    Access {
        /// The path.
        path: PathBuf,
        /// Whether the guest may read it only.
        read_only: bool,
    },
    /// It does not have a single sector.
    #[error(
        "disk {path} has {size} bytes: must be at least one sector of {sector} bytes{}",
        if *.is_file { "; create a new file and name that one: truncate -s 64M NEW" } else { "" }
    )]
    TooSmall {
        /// The path.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The size of a sector in bytes.
        sector: u32,
        /// Whether it is a file, and not a block device.
        is_file: bool,
    },
    /// Its last sector is not whole.
    #[error(
        "disk {path} has {size} bytes: must be a multiple of its sector size, {sector} bytes; copy it, \
         round the copy up, and name that one: cp {path} NEW && truncate -s %{sector} NEW"
    )]
    Ragged {
        /// The path.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The size of a sector in bytes.
        sector: u32,
    },
    /// Its sectors are too large.
    #[error("disk {path} has sectors of {sector} bytes: must be at most {most}")]
    SectorSize {
        /// The path.
        path: PathBuf,
        /// The size of a sector in bytes.
        sector: u32,
        /// The largest size.
        most: u32,
    },
}

impl DiskError {
    /// Returns the error for a path that could not be opened.
    pub(crate) fn of_open(path: &Path, read_only: bool, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.raw_os_error() {
            Some(libc::ENOENT) => Self::Missing { path },
            Some(libc::EISDIR) => Self::Kind { path, found: "a folder" },
            Some(libc::ENXIO) => Self::Kind { path, found: "not readable as a file" },
            Some(libc::EBUSY) => Self::Claimed { path },
            Some(libc::EROFS | libc::EACCES | libc::EPERM | libc::ETXTBSY) if !read_only => {
                Self::ReadOnly { path, source }
            }
            _ => Self::Open { path, source },
        }
    }
}

/// Returns how to create the file at a path. A file in /dev would only hide that a device is missing.
fn creation(path: &Path) -> String {
    match path.starts_with("/dev") {
        true => String::new(),
        false => format!("; create it: truncate -s 64M {}", path.display()),
    }
}
