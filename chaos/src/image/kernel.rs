// SPDX-License-Identifier: GPL-3.0-or-later
//! A kernel that boots as a PVH guest.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use object::read::ReadCache;

use super::error::ImageError;
use super::file::{ImageKey, append, open_with_key};
use super::limit::SizeLimit;
use super::notes::Expectations;
use super::positioned::Positioned;
use super::segment::{Content, Segment};
use super::{elf, unpack};
use crate::convert::u64_to_usize;

/// A kernel, checked and ready to be copied into a guest.
#[derive(Debug)]
pub struct Image {
    pub(super) bytes: ImageBytes,
    segments: Vec<Segment>,
    entry: u32,
    expects: Expectations,
}

/// Where the bytes of an image are.
#[derive(Debug)]
pub(super) enum ImageBytes {
    Memory(Vec<u8>),
    File { file: File, key: ImageKey },
}

impl Image {
    /// Reads and checks a kernel.
    ///
    /// # Errors
    /// The file cannot be read, is not a regular file, is not a kernel that boots as PVH, or needs
    /// more memory than the limit.
    pub fn open(path: &Path, limit: SizeLimit) -> Result<Self, ImageError> {
        let (file, key) = open_with_key(path)?;
        Self::read(&file, key, limit)
    }

    /// Reads and checks a kernel from the beginning of an open file whose key the caller knows.
    /// Needs nothing of a host, so that any thread can do it.
    ///
    /// Reads the file instead of mapping it: access to a mapped file that is truncated later would
    /// kill the process. Of a file that is not packed, only the headers and the segments are read.
    ///
    /// # Errors
    /// As [`Image::open`]; [`ImageError::Changed`] if the file has another key now.
    pub fn read(file: &File, key: ImageKey, limit: SizeLimit) -> Result<Self, ImageError> {
        let image = Self::read_unchecked(file, key, limit);
        // Also if the kernel is refused: the reason may be that the file is being replaced.
        if ImageKey::of(file)? == key { image } else { Err(ImageError::Changed) }
    }

    fn read_unchecked(file: &File, key: ImageKey, limit: SizeLimit) -> Result<Self, ImageError> {
        let headers = ReadCache::new(Positioned::new(file, key.size));
        match elf::parse(&headers) {
            Ok(contents) => Self::read_segments(file, contents, limit),
            // It may be packed.
            Err(ImageError::NotElf { .. }) => {
                let size = limit.check("the kernel's file", key.size)?;
                let mut bytes = Vec::new();
                append(&mut bytes, file, 0, u64_to_usize(size))?;
                Self::parse(bytes, limit)
            }
            Err(error) => Err(error),
        }
    }

    fn read_segments(
        file: &File,
        elf::Contents { mut segments, entry, expects }: elf::Contents,
        limit: SizeLimit,
    ) -> Result<Self, ImageError> {
        // Does not overflow: in the guest, segments do not overlap, and they are larger there.
        let size = segments.iter().map(Segment::file_size).sum();
        let mut bytes = Vec::new();
        let size = limit.check("what the kernel loads", size)?;
        bytes.try_reserve_exact(u64_to_usize(size)).map_err(|_| ImageError::NoMemory { size })?;
        for segment in &mut segments {
            let (start, count) = (bytes.len() as u64, segment.file_size());
            append(&mut bytes, file, segment.file.start, u64_to_usize(count))?;
            segment.file = start..start + count;
        }
        Ok(Self { bytes: ImageBytes::Memory(bytes), segments, entry, expects })
    }

    /// Checks a kernel and leaves its segments in the file if it is not packed: only the headers
    /// are read now, and the segments are read straight into the guest. For one guest; for several,
    /// an [`ImageCache`](super::ImageCache) costs less.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open_unread(path: &Path, limit: SizeLimit) -> Result<Self, ImageError> {
        let (file, key) = open_with_key(path)?;
        let cache = ReadCache::new(Positioned::new(&file, key.size));
        match elf::parse(&cache) {
            Ok(elf::Contents { segments, entry, expects }) => {
                Ok(Self { bytes: ImageBytes::File { file, key }, segments, entry, expects })
            }
            // It may be packed.
            Err(ImageError::NotElf { .. }) => Self::read(&file, key, limit),
            Err(error) => Err(error),
        }
    }

    /// Checks a kernel that is in memory.
    ///
    /// # Errors
    /// The bytes are not a kernel that boots as PVH, or unpack to more than the limit.
    pub fn parse(bytes: Vec<u8>, limit: SizeLimit) -> Result<Self, ImageError> {
        let bytes = unpack::unpack(bytes, limit)?;
        let elf::Contents { segments, entry, expects } = elf::parse(bytes.as_slice())?;
        Ok(Self { bytes: ImageBytes::Memory(bytes), segments, entry, expects })
    }

    /// Returns the guest-physical address where the first vCPU starts.
    #[must_use]
    pub fn entry(&self) -> u32 {
        self.entry
    }

    /// Returns what the kernel expects of its toolstack.
    #[must_use]
    pub fn expects(&self) -> Expectations {
        self.expects
    }

    /// Returns the segments to copy into the guest: at least one, sorted by address, without
    /// overlaps.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the bytes that a segment begins with; the rest of it must be zero.
    ///
    /// # Panics
    /// May panic if the segment is from another image.
    #[must_use]
    pub fn content(&self, segment: &Segment) -> Content<'_> {
        let Range { start, end } = segment.file;
        match &self.bytes {
            ImageBytes::Memory(bytes) => {
                Content::Bytes(&bytes[u64_to_usize(start)..u64_to_usize(end)])
            }
            ImageBytes::File { file, .. } => {
                let count = u64_to_usize(segment.file_size());
                Content::File { file, position: start, count }
            }
        }
    }

    /// Checks that the file has not changed since the image was created. To be called when all
    /// segments have been copied. An image in memory always passes.
    ///
    /// # Errors
    /// [`ImageError::Changed`], or the metadata cannot be read.
    pub fn check_unchanged(&self) -> Result<(), ImageError> {
        match &self.bytes {
            ImageBytes::File { file, key } if ImageKey::of(file)? != *key => {
                Err(ImageError::Changed)
            }
            _ => Ok(()),
        }
    }

    /// Returns the first guest-physical address after all segments.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.segments.last().map_or(0, Segment::end)
    }

    /// Returns whether both images are in memory and load the same bytes to the same places.
    pub(super) fn is_equal(&self, other: &Self) -> bool {
        match (&self.bytes, &other.bytes) {
            (ImageBytes::Memory(bytes), ImageBytes::Memory(others)) => {
                self.entry == other.entry
                    && self.expects == other.expects
                    && self.segments == other.segments
                    && bytes == others
            }
            _ => false,
        }
    }

    /// Returns how many bytes of memory the image takes in this process.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.bytes {
            ImageBytes::Memory(bytes) => bytes.len(),
            ImageBytes::File { .. } => 0,
        }
    }

    /// Checks that every segment ends at or below `usable_end`, a guest-physical address.
    ///
    /// # Errors
    /// [`ImageError::DoesNotFit`], with the highest segment.
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
