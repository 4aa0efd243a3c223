// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a kernel cannot be loaded.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use noxs::layout::note::SIZE as DEVICE_PAGE_NOTE;
use thiserror::Error;

use super::effort::MAX_CPU_TIME;
use super::elf::MAX_LOADS;
use super::limit::SizeLimit;
use super::room::RESERVE;

/// Largest kernel or ramdisk in bytes, as a file and unpacked.
pub const MAX_SIZE: u64 = 1 << 30;

/// How long a kernel that took too long to unpack is refused without another attempt. CPU time also
/// passes while a hypervisor lets others run, so the next attempt may succeed.
pub(super) const RETRY_SLOW: Duration = Duration::from_secs(600);

/// Why a kernel or a ramdisk cannot be loaded. The caller adds the path.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The file cannot be opened.
    #[error("cannot open the file{}", place(.0))]
    Open(#[source] io::Error),
    /// The file cannot be read.
    #[error("cannot read the file")]
    Read(#[source] io::Error),
    /// It is a directory, a pipe or a device.
    #[error("not a regular file")]
    NotRegular,
    /// The ramdisk is empty, which can only be a mistake.
    #[error("the file is empty")]
    Empty,
    /// It is larger than [`MAX_SIZE`], in the file or unpacked.
    #[error("{what} must be at most {} MiB", MAX_SIZE >> 20)]
    TooLarge {
        /// What is too large.
        what: &'static str,
    },
    /// It is larger than a guest of this memory can use, in the file or unpacked.
    #[error(
        "{what} must be at most {} MiB for a guest of this memory: raise memory= (for members of \
         group chaos, also files= in chaosd.toml), or strip the kernel",
        limit.bytes() >> 20
    )]
    TooLargeForGuest {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: SizeLimit,
    },
    /// The file changed while it was read.
    #[error("the file changed while it was read; try again when it is complete")]
    Changed,
    /// The file is not a kernel in a supported format.
    #[error(
        "not a kernel: the file {begins}; must be an ELF file, a gzip'ed ELF file or a Linux bzImage"
    )]
    NotElf {
        /// How it begins, as words for the message.
        begins: String,
    },
    /// The ELF file is for another kind of machine.
    #[error("unsupported ELF file: {found}; must be for 64-bit x86-64 or 32-bit i386")]
    WrongMachine {
        /// What it is.
        found: String,
    },
    /// The file ends before a part of it.
    #[error("truncated: {part} ends at byte {needed}, the file at byte {size}")]
    Truncated {
        /// The part that is not completely in the file.
        part: Part,
        /// The size that the file must have, in bytes.
        needed: u64,
        /// The size that it has, in bytes.
        size: u64,
    },
    /// The header contradicts itself.
    #[error("malformed ELF file: {0}")]
    Malformed(&'static str),
    /// There are more segments to load than any kernel has.
    #[error("the ELF file has {found} segments to load: must be at most {MAX_LOADS}")]
    TooManySegments {
        /// How many it has.
        found: u64,
    },
    /// There is nothing to load.
    #[error("the ELF file has no segment to load")]
    NoSegments,
    /// A segment has more bytes in the file than in memory.
    #[error("segment {index} has {file_size} bytes in the file, but only {mem_size} in memory")]
    SegmentShrinks {
        /// Its number among the program headers.
        index: usize,
        /// Its size in the file in bytes.
        file_size: u64,
        /// Its size in memory in bytes.
        mem_size: u64,
    },
    /// A segment ends beyond the largest address.
    #[error("segment {index} at {paddr:#x} with {mem_size:#x} bytes ends beyond 2^64")]
    SegmentOverflow {
        /// Its number among the program headers.
        index: usize,
        /// Its physical address.
        paddr: u64,
        /// Its size in memory in bytes.
        mem_size: u64,
    },
    /// Two segments overlap.
    #[error(
        "segments {first} and {second} overlap: segment {first} ends at {first_end:#x}, segment \
         {second} begins at {second_start:#x}"
    )]
    Overlap {
        /// Number of the lower one among the program headers.
        first: usize,
        /// Where it ends.
        first_end: u64,
        /// Number of the upper one.
        second: usize,
        /// Where it begins.
        second_start: u64,
    },
    /// The kernel has no entry point for a PVH domain.
    #[error(
        "no PVH note (ELF note \"Xen\" of type 18), so the kernel does not boot as a PVH guest; build \
         Linux with CONFIG_PVH"
    )]
    NoPvhNote,
    /// The PVH note is not an address.
    #[error("the PVH note holds {size} bytes: must be 1, 2, 4 or 8")]
    BadPvhNote {
        /// How many bytes it has.
        size: usize,
    },
    /// The note about the device page is not a version.
    #[error(
        "the ELF note \"chaos\" of type 1 holds {size} bytes: must be {DEVICE_PAGE_NOTE}, the version \
         of the device page; build the kernel with the runtime of this chaos"
    )]
    BadDevicePageNote {
        /// How many bytes it has.
        size: usize,
    },
    /// The entry point is not in a segment.
    #[error("the entry point {entry:#x} of the PVH note must lie in a loaded segment")]
    EntryOutside {
        /// The address.
        entry: u64,
    },
    /// The entry point cannot be reached in 32-bit mode.
    #[error("the entry point {entry:#x} of the PVH note must lie below 4 GiB")]
    EntryTooHigh {
        /// The address.
        entry: u64,
    },
    /// The guest has too little memory.
    #[error(
        "segment {index} ends at {end:#x}, but the guest's usable memory ends at {usable_end:#x}: \
         {missing_kib} KiB are missing; raise memory"
    )]
    DoesNotFit {
        /// Its number among the program headers.
        index: usize,
        /// Where it ends.
        end: u64,
        /// First address that it must not use.
        usable_end: u64,
        /// How much memory is missing, in KiB.
        missing_kib: u64,
    },
    /// The kernel cannot be unpacked.
    #[error("cannot unpack the {method} data")]
    Unpack {
        /// The format in which it is packed.
        method: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel takes too long to unpack.
    #[error(
        "the {method} data take more than {} s of CPU time to unpack, the maximum; unpack the kernel \
         first (for Linux: scripts/extract-vmlinux in its sources), or, if this host was overloaded, \
         try again in {} min",
        MAX_CPU_TIME.as_secs(), RETRY_SLOW.as_secs() / 60
    )]
    TooSlow {
        /// The format in which it is packed.
        method: &'static str,
    },
    /// This process cannot get the memory for the kernel.
    #[error("cannot allocate {size} bytes for the kernel; free some memory of this host")]
    NoMemory {
        /// How many bytes.
        size: u64,
    },
    /// Too little of dom0's memory would be left if more of the kernel were read or unpacked.
    #[error(
        "dom0 has too little memory for the kernel: {} MiB are free, and {} MiB must stay free; stop \
         something in dom0, or give it more memory (dom0_mem=)",
        available >> 20, RESERVE >> 20
    )]
    NoRoom {
        /// How many bytes of memory were left.
        available: u64,
    },
    /// The kernel unpacks to another size than its header says.
    #[error("the {method} data unpacks to {found} bytes: must be {expected}")]
    UnpackedSize {
        /// The format in which it is packed.
        method: &'static str,
        /// Its unpacked size in bytes.
        found: usize,
        /// The size in the header, in bytes.
        expected: usize,
    },
    /// The kernel unpacks to more bytes than its header says.
    #[error("the {method} data unpacks to more than {expected} bytes, the size in its header")]
    UnpackedMore {
        /// The format in which it is packed.
        method: &'static str,
        /// The size in the header, in bytes.
        expected: usize,
    },
    /// The same file was refused before, and has not changed.
    #[error(transparent)]
    Remembered(Arc<Self>),
    /// The payload of a bzImage cannot be found or unpacked.
    #[error("cannot unpack this Linux bzImage: {0}")]
    BzImage(BzImageProblem),
}

impl ImageError {
    /// Returns whether the same file would be refused again for the same reason, for a while at
    /// least. Failures to open or to read it may pass.
    pub(super) fn is_of_content(&self) -> bool {
        !matches!(
            self,
            Self::Open(_)
                | Self::Read(_)
                | Self::NotRegular
                | Self::Changed
                | Self::NoMemory { .. }
                | Self::NoRoom { .. }
                | Self::Remembered(_)
        )
    }
}

/// What is wrong with a bzImage.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BzImageProblem {
    /// The file ends within the header.
    #[error("the file ends within its header")]
    Header,
    /// It is older than boot protocol 2.8.
    #[error("its boot protocol {}.{} is too old: must be at least 2.8", .0 >> 8, .0 & 0xff)]
    OldProtocol(u16),
    /// The payload is not completely in the file.
    #[error("its payload ends at byte {end}, the file at byte {size}")]
    Truncated {
        /// Where it ends.
        end: u64,
        /// How large the file is.
        size: usize,
    },
    /// There is no payload.
    #[error("its payload is empty")]
    Empty,
    /// Its format is known, but not supported.
    #[error("it is packed with {0}: must be gzip, xz, zstd, lz4 or lzma")]
    Method(&'static str),
    /// Its format is unknown.
    #[error("its payload {begins}: must be gzip, xz, zstd, lz4 or lzma")]
    Payload {
        /// How it begins, as words for the message.
        begins: String,
    },
}

/// A part of an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The header at its beginning.
    Header,
    /// The table of segments.
    ProgramHeaders,
    /// The table of sections.
    SectionHeaders,
    /// The segment with this number among the program headers.
    Segment(usize),
    /// The section with this number.
    Section(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the ELF header"),
            Self::ProgramHeaders => f.write_str("the program header table"),
            Self::SectionHeaders => f.write_str("the section header table"),
            Self::Segment(index) => write!(f, "segment {index}"),
            Self::Section(index) => write!(f, "note section {index}"),
        }
    }
}

/// Returns where a file is looked up, if it does not exist.
fn place(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "; name one that exists: a relative path begins at the working directory of the command"
        }
        _ => "",
    }
}
