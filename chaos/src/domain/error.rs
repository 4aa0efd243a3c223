//! Why a domain cannot be built.

use thiserror::Error;
use xen::units::KiB;

use crate::config::MAX_COMMAND_LINE;
use crate::image::ImageError;

/// Why a domain cannot be built. Nothing of it is left when this is returned.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Xen has too little free memory for the domain.
    #[error(
        "not enough free memory: the guest needs {wanted} KiB, Xen has {free} KiB free; destroy \
         guests, or give dom0 less (dom0_mem= on Xen's command line)",
        wanted = wanted.0, free = free.0
    )]
    NoMemory {
        /// What the guest asked for.
        wanted: KiB,
        /// What Xen has left.
        free: KiB,
    },
    /// The guest is too small for what dom0 puts at the top of its memory.
    #[error("{} KiB of memory leave no room for the guest; at least {} KiB are needed", memory.0, least.0)]
    TooSmall {
        /// What the guest asked for.
        memory: KiB,
        /// The least that is possible.
        least: KiB,
    },
    /// The image does not fit.
    #[error("kernel does not fit")]
    Image(#[from] ImageError),
    /// The shell was made for another image.
    #[error("the shell holds another image")]
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
    /// The ramdisk cannot be put into the guest.
    #[error("ramdisk cannot be used")]
    RamdiskFile(#[source] ImageError),
    /// The command line is longer than the boot page.
    #[error("command line has {length} bytes, at most {MAX_COMMAND_LINE} fit")]
    CommandLineTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The command line cannot be handed over.
    #[error("command line contains a zero byte")]
    CommandLineZero,
    /// The domain has more devices than the device page holds.
    #[error("the device page cannot be made")]
    DevicePage(#[from] noxs::PageError),
    /// Xen refused a step.
    #[error("cannot {doing}")]
    Xen {
        /// The step.
        doing: &'static str,
        /// Xen's answer.
        #[source]
        source: xen::Error,
    },
}

/// Adds what was being done to an error of Xen.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, BuildError>;
}

impl<T> Doing<T> for Result<T, xen::Error> {
    fn doing(self, doing: &'static str) -> Result<T, BuildError> {
        self.map_err(|source| BuildError::Xen { doing, source })
    }
}
