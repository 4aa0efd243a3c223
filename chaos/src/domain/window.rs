// SPDX-License-Identifier: GPL-3.0-or-later
//! The part of a domain's memory that dom0 maps while it builds the domain.

use std::fs::File;
use std::ops::Range;

use xen::Xen;
use xen::foreign::ForeignMapping;
use xen::units::{DomId, Gfn, Pages};

use super::error::{BuildError, Doing};
use super::layout::Layout;
use crate::convert::u64_to_usize;
use crate::image::{Content, Image, ImageError, ModuleFile, Segment};

/// Segments with at most this many pages between them are mapped together: mapping some unused
/// pages is cheaper than another mapping.
const MAP_GAP: u64 = 64;

/// Runs of frames, in ascending order and with gaps between them.
pub(super) type Runs = Vec<Range<u64>>;

/// Returns the runs of frames that an image fills.
pub(super) fn runs_of(image: &Image) -> Runs {
    let mut runs: Runs = Vec::new();
    for segment in image.segments() {
        let (start, end) = frames_of(segment);
        match runs.last_mut() {
            Some(run) if start <= run.end.saturating_add(MAP_GAP) => run.end = run.end.max(end),
            _ => runs.push(start..end),
        }
    }
    runs
}

/// Returns the run of frames that contains a segment of an image: near segments are mapped at once.
pub(super) fn run_around(image: &Image, segment: &Segment) -> Range<u64> {
    let (start, end) = frames_of(segment);
    let around = |run: &Range<u64>| run.start <= start && end <= run.end;
    runs_of(image).into_iter().find(around).unwrap_or(start..end)
}

fn frames_of(segment: &Segment) -> (u64, u64) {
    (segment.paddr >> 12, segment.end().div_ceil(4096))
}

/// Mapped pages of a domain: its special pages, followed by runs of its memory.
#[derive(Debug)]
pub(super) struct Window {
    mapping: ForeignMapping,
    specials: Range<u64>,
    runs: Runs,
}

impl Window {
    /// Maps the special pages of a domain, and parts of its memory.
    pub(super) fn map(
        xen: &Xen,
        domid: DomId,
        layout: &Layout,
        runs: Runs,
    ) -> Result<Self, BuildError> {
        let specials = layout.boot_page.0..layout.boot_page.0 + layout.specials().0;
        let frames: Vec<Gfn> =
            std::iter::once(&specials).chain(&runs).cloned().flatten().map(Gfn).collect();
        let mapping = ForeignMapping::map(xen, domid, &frames).doing("map the guest's memory")?;
        Ok(Self { mapping, specials, runs })
    }

    /// Maps only a part of a domain's memory.
    pub(super) fn of_memory(
        xen: &Xen,
        domid: DomId,
        first: Gfn,
        count: Pages,
    ) -> Result<Self, BuildError> {
        let mapping =
            ForeignMapping::map_range(xen, domid, first, count).doing("map the guest's memory")?;
        let run = first.0..first.0 + count.0;
        Ok(Self { mapping, specials: 0..0, runs: Vec::from([run]) })
    }

    /// Returns the offset of some bytes of the guest in the mapping, if all of them are mapped.
    fn find(&self, address: u64, count: u64) -> Option<usize> {
        let end = address.checked_add(count)?;
        let mut before = 0;
        for run in std::iter::once(&self.specials).chain(&self.runs) {
            if run.start << 12 <= address && end <= run.end << 12 {
                return usize::try_from((before << 12) + address - (run.start << 12)).ok();
            }
            before += run.end - run.start;
        }
        None
    }

    /// Returns whether a part of the guest's memory is mapped.
    pub(super) fn has(&self, address: u64, count: u64) -> bool {
        self.find(address, count).is_some()
    }

    /// Returns the offset of bytes that are mapped, according to [`has`](Self::has) or the layout.
    /// For others it returns an offset with which the mapping panics.
    fn offset(&self, address: u64, count: u64) -> usize {
        self.find(address, count).unwrap_or(usize::MAX)
    }

    /// Writes to the guest's memory.
    ///
    /// # Panics
    /// The bytes are not mapped.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) {
        self.mapping.write(self.offset(address, bytes.len() as u64), bytes);
    }

    /// Clears a part of the guest's memory.
    ///
    /// # Panics
    /// The bytes are not mapped.
    pub(super) fn fill_zero(&self, address: u64, count: u64) {
        let at = self.offset(address, count);
        self.mapping.fill_zero(at, u64_to_usize(count));
    }

    /// Writes the content of a segment of an image.
    ///
    /// # Errors
    /// The file cannot be read, or has become shorter.
    ///
    /// # Panics
    /// The bytes are not mapped.
    pub(super) fn write_content(
        &self,
        address: u64,
        content: Content<'_>,
    ) -> Result<(), ImageError> {
        match content {
            Content::Bytes(bytes) => self.write(address, bytes),
            Content::File { file, position, count } => {
                self.write_file(address, file, position, count)?;
            }
        }
        Ok(())
    }

    /// Writes a module.
    ///
    /// # Errors
    /// As [`Window::write_content`].
    ///
    /// # Panics
    /// The bytes are not mapped.
    pub(super) fn write_module(&self, address: u64, module: &ModuleFile) -> Result<(), ImageError> {
        let count = u64_to_usize(module.size());
        self.write_file(address, module.file(), 0, count)?;
        module.check_unchanged()
    }

    fn write_file(
        &self,
        address: u64,
        file: &File,
        position: u64,
        count: usize,
    ) -> Result<(), ImageError> {
        let at = self.offset(address, count as u64);
        match self.mapping.write_from(at, file, position, count) {
            Ok(written) if written == count => Ok(()),
            Ok(_) => Err(ImageError::Changed),
            Err(error) => Err(ImageError::Read(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::kernel_with;

    #[test]
    fn many_small_segments_are_few_runs() {
        let mut loads: Vec<(u64, u64)> = (0..100).map(|n| (0x20_0000 + n * 0x2000, 0x10)).collect();
        loads.push((0x4000_0000, 0x1001));
        let image = kernel_with(&loads);
        assert_eq!(runs_of(&image), [0x100..0x102, 0x200..0x2c7, 0x4_0000..0x4_0002]);
        let run = |index: usize| run_around(&image, &image.segments()[index]);
        assert_eq!([run(0), run(1), run(100)], [0x100..0x102, 0x200..0x2c7, 0x200..0x2c7]);
    }
}
