// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a disk image that is not raw cannot be a disk.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use thiserror::Error;

use super::server::PACKAGE;
use crate::escape;
use crate::failure::FailureClass;

/// Why a disk image that is not raw cannot be a disk.
#[derive(Debug, Error)]
pub enum NbdError {
    /// The program that opens it is not installed.
    #[error(
        "cannot open disk {path}, whose format is {format}: there is no program qemu-nbd; install the \
         package {PACKAGE}"
    )]
    NoProgram {
        /// The image.
        path: PathBuf,
        /// Its format.
        format: &'static str,
    },
    /// The kernel has no network block devices.
    #[error(
        "cannot open disk {path}, whose format is {format}: dom0's kernel has no network block devices; \
         load the module: modprobe nbd max_part=0"
    )]
    NoDriver {
        /// The image.
        path: PathBuf,
        /// Its format.
        format: &'static str,
    },
    /// qemu-nbd cannot be started.
    #[error("cannot start qemu-nbd for disk {path}")]
    Start {
        /// The image.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// qemu-nbd does not open it.
    #[error("cannot open disk {path}, whose format is {format}: {}", escape::line(words))]
    Refused {
        /// The image.
        path: PathBuf,
        /// Its format.
        format: &'static str,
        /// What qemu-nbd has said.
        words: String,
    },
    /// qemu-nbd does not answer.
    #[error(
        "cannot open disk {path}: qemu-nbd has not opened it after {seconds} s; its storage may not answer"
    )]
    Silent {
        /// The image.
        path: PathBuf,
        /// How long it had.
        seconds: u64,
    },
    /// It has no whole number of sectors.
    #[error(
        "disk {path} has {size} bytes: must be a multiple of its sector size, 512 bytes, and not 0; change its \
         size: qemu-img resize {path} SIZE"
    )]
    Size {
        /// The image.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// The kernel does not connect a device to qemu-nbd, or not for as long as the guest needs it.
    #[error("dom0's kernel does not connect a network block device to disk {path}; try again")]
    Connect {
        /// The image.
        path: PathBuf,
        /// The kernel's error.
        #[source]
        errno: Errno,
    },
    /// chaosd was killed before it noted which device noxsd has for the image.
    #[error(
        "the network block device of disk {path} is not known, because chaosd was killed when the guest was \
         created; the guest has its disk until noxsd is restarted: reboot it before"
    )]
    Unknown {
        /// The image.
        path: PathBuf,
    },
    /// A descriptor that came from another process is not a device that chaos has connected.
    #[error(
        "the file descriptor of disk {path} must be a network block device that chaos has connected"
    )]
    Foreign {
        /// The image.
        path: PathBuf,
    },
}

impl NbdError {
    /// Returns its class. An image that cannot be a disk is wrong input.
    pub(crate) fn class(&self) -> FailureClass {
        match self {
            Self::Refused { .. } | Self::Size { .. } => FailureClass::WrongInput,
            _ => FailureClass::Failed,
        }
    }
}
