// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a domain cannot be built.

use thiserror::Error;
use xen::units::KiB;

use crate::config::MAX_COMMAND_LINE;
use crate::image::ImageError;

/// Why a domain cannot be built. Nothing of the domain is left behind.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Xen has too little free memory for the domain.
    #[error(
        "not enough free memory: the guest needs {wanted} KiB, Xen had {free} KiB free; destroy \
         guests, or give dom0 less (dom0_mem= on Xen's command line)",
        wanted = wanted.0, free = free.0
    )]
    NoMemory {
        /// The memory that the guest takes, with its special pages and page tables.
        wanted: KiB,
        /// The memory that was free and not claimed before the guest got any.
        free: KiB,
    },
    /// The guest has too little memory.
    #[error("the guest has {} KiB of memory: must be at least {} KiB; raise memory=", memory.0, least.0)]
    TooSmall {
        /// The memory of the guest.
        memory: KiB,
        /// The smallest memory of a guest.
        least: KiB,
    },
    /// The image does not fit or cannot be read.
    #[error("cannot load the kernel")]
    Image(#[from] ImageError),
    /// The shell holds another image.
    #[error("the shell holds another kernel")]
    OtherImage,
    /// The ramdisk does not fit beside the image.
    #[error(
        "ramdisk does not fit: it has {size} bytes, the guest has {room} left beside its image; \
         raise memory= by {} MiB", size.saturating_sub(*room).div_ceil(1 << 20)
    )]
    Ramdisk {
        /// Size of the ramdisk in bytes.
        size: u64,
        /// Bytes between the image and the end of usable memory.
        room: u64,
    },
    /// The ramdisk cannot be read.
    #[error("cannot copy the ramdisk")]
    RamdiskFile(#[source] ImageError),
    /// There is no room for the kernel of the PV shim beside the shim.
    #[error(
        "the PV kernel does not fit: it has {size} bytes, the guest has {room} left beside the PV shim; \
         raise memory= by {} MiB", size.saturating_sub(*room).div_ceil(1 << 20)
    )]
    PvKernel {
        /// Size of the kernel in bytes.
        size: u64,
        /// Bytes between the shim and the end of usable memory.
        room: u64,
    },
    /// The kernel of the PV shim cannot be read.
    #[error("cannot copy the PV kernel")]
    PvKernelFile(#[source] ImageError),
    /// The command line does not fit into the boot page.
    #[error(
        "command line has {length} bytes: must be at most {MAX_COMMAND_LINE}; shorten cmdline="
    )]
    CommandLineTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The command line cannot be represented, because a zero byte ends it.
    #[error("command line contains a zero byte; remove it from cmdline=")]
    CommandLineZero,
    /// The domain has more devices than fit into the device page.
    #[error("cannot write the device page")]
    DevicePage(#[from] noxs::PageError),
    /// Xen refused a step.
    #[error("cannot {doing}")]
    Xen {
        /// The step.
        doing: &'static str,
        /// Xen's error.
        #[source]
        source: xen::Error,
    },
}

/// Adds the failed step to an error of Xen.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, BuildError>;
}

impl<T> Doing<T> for Result<T, xen::Error> {
    fn doing(self, doing: &'static str) -> Result<T, BuildError> {
        self.map_err(|source| BuildError::Xen { doing, source })
    }
}
