//! Kernel images for PVH direct boot.
//!
//! A kernel is an ELF file whose `Xen` note of type 18 (`XEN_ELFNOTE_PHYS32_ENTRY` in Xen's
//! `elfnote.h`) says where to enter it in 32-bit mode without paging. It may be packed with gzip,
//! or be a Linux bzImage, whose payload is such a file, packed with gzip, xz, zstd, lz4 or lzma.
//! Everything is checked when an [`Image`] is made, so that putting it into a guest only copies
//! bytes.

mod bzimage;
mod cache;
mod elf;
mod error;
mod positioned;
mod ramdisk;
mod unpack;

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use object::read::ReadCache;

pub use cache::{ImageCache, ImageKey};
pub use error::{ImageError, Part};
use positioned::Positioned;
pub use ramdisk::RamdiskFile;

/// Largest kernel in bytes, as a file and unpacked.
pub const MAX_SIZE: u64 = 1 << 30;

/// A kernel, checked and ready to be copied into a guest.
#[derive(Debug)]
pub struct Image {
    store: Store,
    segments: Vec<Segment>,
    entry: u32,
}

/// Where an image's bytes are.
#[derive(Debug)]
enum Store {
    Memory(Vec<u8>),
    File { file: File, key: ImageKey },
}

/// The bytes a segment begins with.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// They are in memory.
    Bytes(&'a [u8]),
    /// They are in a file.
    File {
        /// The file.
        file: &'a File,
        /// Where they begin.
        position: u64,
        /// How many there are.
        count: usize,
    },
}

impl Content<'_> {
    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File { count, .. } => *count,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A run of guest memory that the kernel fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First guest-physical address.
    pub paddr: u64,
    /// Size in the guest in bytes, never 0. What the file leaves open is to be cleared.
    /// `paddr + mem_size` does not overflow.
    pub mem_size: u64,
    /// Number among the ELF file's program headers, for messages.
    pub index: usize,
    /// Where its bytes are in the file; at most `mem_size` of them.
    file: Range<u64>,
}

impl Segment {
    /// First address after the segment.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.paddr + self.mem_size
    }

    /// How many bytes it has in the file.
    #[must_use]
    pub fn file_size(&self) -> u64 {
        self.file.end - self.file.start
    }
}

impl Image {
    /// Reads and checks a kernel.
    ///
    /// # Errors
    /// The file cannot be read, is no regular file, or is no kernel that can be booted as PVH.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        Self::from_file(&open(path)?)
    }

    /// Reads and checks a kernel from its beginning in an open file.
    ///
    /// The whole file is read into memory. It is not mapped: a mapped file that somebody
    /// truncates would kill the process that touches it.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn from_file(file: &File) -> Result<Self, ImageError> {
        let key = ImageKey::of(file)?;
        let bytes = read(file, key.size)?;
        if ImageKey::of(file)? != key || bytes.len() as u64 != key.size {
            return Err(ImageError::Changed);
        }
        Self::parse(bytes)
    }

    /// Checks a kernel without reading it, as far as that is possible: of an ELF file only the
    /// headers are read now, and the rest goes from the file right into the guest. For whoever
    /// makes one guest of it; others are better off with an [`ImageCache`].
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open_unread(path: &Path) -> Result<Self, ImageError> {
        let file = open(path)?;
        let key = ImageKey::of(&file)?;
        let cache = ReadCache::new(Positioned::new(&file, key.size));
        match elf::parse(&cache) {
            Ok(elf::Contents { segments, entry }) => {
                Ok(Self { store: Store::File { file, key }, segments, entry })
            }
            // It may be packed.
            Err(ImageError::NotElf { .. }) => Self::from_file(&file),
            Err(error) => Err(error),
        }
    }

    /// Checks a kernel that is in memory already.
    ///
    /// # Errors
    /// The bytes are no kernel that can be booted as PVH.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, ImageError> {
        let bytes = unpack::unpack(bytes)?;
        let elf::Contents { segments, entry } = elf::parse(bytes.as_slice())?;
        Ok(Self { store: Store::Memory(bytes), segments, entry })
    }

    /// Guest-physical address where the first vCPU begins.
    #[must_use]
    pub fn entry(&self) -> u32 {
        self.entry
    }

    /// What is to be put into the guest: at least one segment, sorted by address, none
    /// overlapping another.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The bytes a segment begins with; the rest of it is zero.
    ///
    /// # Panics
    /// If the segment is of another image and does not lie in this one.
    #[must_use]
    pub fn content(&self, segment: &Segment) -> Content<'_> {
        let at = |position| usize::try_from(position).unwrap_or(usize::MAX);
        let Range { start, end } = segment.file;
        match &self.store {
            Store::Memory(bytes) => Content::Bytes(&bytes[at(start)..at(end)]),
            Store::File { file, .. } => {
                Content::File { file, position: start, count: at(segment.file_size()) }
            }
        }
    }

    /// Checks that the file is still what it was when it was checked. To be called when all of an
    /// image that was not read before has been copied.
    ///
    /// # Errors
    /// [`ImageError::Changed`].
    pub fn check_unchanged(&self) -> Result<(), ImageError> {
        match &self.store {
            Store::File { file, key } if ImageKey::of(file)? != *key => Err(ImageError::Changed),
            _ => Ok(()),
        }
    }

    /// First guest-physical address after all segments.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.segments.last().map_or(0, Segment::end)
    }

    /// How many bytes the image holds in this process.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.store {
            Store::Memory(bytes) => bytes.len(),
            Store::File { .. } => 0,
        }
    }

    /// Checks that every segment ends at or below `usable_end`, a guest-physical address.
    ///
    /// # Errors
    /// [`ImageError::DoesNotFit`], naming the highest segment.
    pub fn check_fits(&self, usable_end: u64) -> Result<(), ImageError> {
        match self.segments.last() {
            Some(last) if last.end() > usable_end => Err(ImageError::DoesNotFit {
                index: last.index,
                end: last.end(),
                usable_end,
                missing_kib: (last.end() - usable_end).div_ceil(1024),
            }),
            _ => Ok(()),
        }
    }
}

/// Opens a file for reading without waiting for a pipe's other end.
///
/// # Errors
/// It cannot be opened.
pub fn open(path: &Path) -> Result<File, ImageError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(ImageError::Open)
}

/// Reads a file that is expected to have `size` bytes, and notices one more.
fn read(mut file: &File, size: u64) -> Result<Vec<u8>, ImageError> {
    let capacity = usize::try_from(size).map_err(|_| ImageError::TooLarge { what: "the file" })?;
    let mut bytes = Vec::with_capacity(capacity.saturating_add(1));
    std::io::Seek::rewind(&mut file).map_err(ImageError::Read)?;
    file.take(size.saturating_add(1)).read_to_end(&mut bytes).map_err(ImageError::Read)?;
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
