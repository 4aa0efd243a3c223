//! Why a kernel cannot be loaded.

use std::fmt;
use std::io;

use thiserror::Error;

use super::MAX_SIZE;

/// Why a kernel cannot be loaded. The path is not in it: whoever opens the file knows that.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The file cannot be opened.
    #[error("cannot open it")]
    Open(#[source] io::Error),
    /// The file cannot be read.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// A folder, a pipe or a device.
    #[error("not a regular file")]
    NotRegular,
    /// A ramdisk of no bytes, which nobody means.
    #[error("it is empty")]
    Empty,
    /// More than anybody wants in memory, in the file or after decompression.
    #[error("{what} has more than {} MiB, the most that is loaded", MAX_SIZE >> 20)]
    TooLarge {
        /// What is too large.
        what: &'static str,
    },
    /// The file changed while it was read.
    #[error("the file changed while it was read; try again when it is complete")]
    Changed,
    /// The file is no kernel of a known form.
    #[error(
        "not a kernel: an ELF file, a gzip'ed ELF file or a Linux bzImage is wanted, but it \
         {begins}"
    )]
    NotElf {
        /// How it begins, in words.
        begins: String,
    },
    /// The ELF file is for another kind of machine.
    #[error("wrong kind of ELF file: {found}; wanted is 64-bit x86-64 or 32-bit i386")]
    WrongMachine {
        /// What it is.
        found: String,
    },
    /// The file ends too early.
    #[error("cut short: {part} needs {needed} bytes of the file, which has {size}")]
    Truncated {
        /// Which part does not lie wholly in the file.
        part: Part,
        /// How large the file would have to be, in bytes.
        needed: u64,
        /// How large it is, in bytes.
        size: u64,
    },
    /// The header contradicts itself.
    #[error("malformed ELF file: {0}")]
    Malformed(&'static str),
    /// Nothing to load.
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
    /// Two segments want the same memory.
    #[error(
        "segments {first} and {second} overlap: the one ends at {first_end:#x}, the other begins \
         at {second_start:#x}"
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
    /// No entry point for a PVH domain.
    #[error(
        "no PVH note (ELF note \"Xen\" of type 18): the kernel is not made to be booted directly \
         as a PVH guest (Linux needs CONFIG_PVH)"
    )]
    NoPvhNote,
    /// The note is no address.
    #[error("the PVH note holds {size} bytes, which is no number; 1, 2, 4 or 8 are wanted")]
    BadPvhNote {
        /// How many bytes it has.
        size: usize,
    },
    /// The entry point is in no segment.
    #[error("the entry point {entry:#x} of the PVH note lies in none of the loaded segments")]
    EntryOutside {
        /// The address.
        entry: u64,
    },
    /// The entry point cannot be reached in 32-bit mode.
    #[error("the entry point {entry:#x} of the PVH note lies beyond 4 GiB")]
    EntryTooHigh {
        /// The address.
        entry: u64,
    },
    /// The guest is too small.
    #[error(
        "segment {index} ends at {end:#x}, but the guest's usable memory ends at {usable_end:#x}: \
         {missing_kib} KiB are missing; raise memory="
    )]
    DoesNotFit {
        /// Its number among the program headers.
        index: usize,
        /// Where it ends.
        end: u64,
        /// First byte it may not use.
        usable_end: u64,
        /// How much is missing.
        missing_kib: u64,
    },
    /// A compressed kernel that cannot be unpacked.
    #[error("cannot unpack the {method} data in it: {reason}")]
    Unpack {
        /// How it is compressed.
        method: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A bzImage without a payload in a known form.
    #[error("cannot unpack this Linux bzImage: {0}")]
    BzImage(String),
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
