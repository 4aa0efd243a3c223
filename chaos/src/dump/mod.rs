// SPDX-License-Identifier: GPL-3.0-or-later
//! Writes a core file of a domain, which gdb opens.
//!
//! The guest's memory has the addresses that the guest calls physical. A guest that maps memory one
//! to one, as those of the runtime `unikernel` do, is seen as it sees itself. The upper half of what
//! the first vCPU's page tables map is there, too: in a Linux guest, that is the kernel.

mod elf;
mod error;
mod file;
mod paging;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use xen::Xen;
use xen::foreign::SparseMapping;
use xen::units::{DomId, Gfn, PAGE_SIZE, Pages};
use xen::vcpu_state::VcpuState;

use elf::{DATA, MAX_SEGMENTS, Program, Segment};
pub use error::DumpError;
pub use file::CoreFile;

/// Frames that are mapped at once: 1 MiB.
const AT_ONCE: usize = 256;

/// The most segments of physical addresses. Further memory extends the last one, with zeroes where
/// there is none.
const MAX_RUNS: usize = MAX_SEGMENTS / 4;

/// The frames above a guest's memory that may hold pages of Xen's or of its devices. What a guest
/// has beyond is not in its core file: a guest can map a page of Xen's at any frame, and looking for
/// memory up to there could take for ever.
const ROOM_ABOVE: u64 = 1 << 12;

/// The end of the hole below 4 GiB, above which the rest of a large guest's memory lies.
const HOLE_END: u64 = 1 << 20;

/// What a core file says about its guest.
#[derive(Clone, Copy, Debug)]
pub struct CoreSubject<'a> {
    /// The domain.
    pub domid: DomId,
    /// The most memory that it may have.
    pub memory: Pages,
    /// The guest's name.
    pub name: &'a str,
    /// The file name of its kernel.
    pub kernel: &'a str,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreSummary {
    /// Memory in the file.
    pub memory: Pages,
    /// The part of it that is not all zeroes.
    pub written: Pages,
    /// vCPUs, which are the threads of the file.
    pub vcpus: usize,
    /// Whether the guest's page tables map more ranges than the file lists.
    pub is_cut: bool,
}

/// Writes the core file of a domain to an empty file, with holes for what is all zeroes. The caller
/// has paused the domain; the state of one that has shut down does not change either. `should_stop`
/// is called for each MiB and for each of the guest's page tables; if it returns true, the dump ends
/// with [`DumpError::Interrupted`].
///
/// # Errors
/// Xen refuses, or the file cannot be written.
pub fn write_core(
    xen: &Xen,
    subject: CoreSubject<'_>,
    file: &File,
    should_stop: &mut dyn FnMut() -> bool,
) -> Result<CoreSummary, DumpError> {
    let domid = subject.domid;
    let limit = HOLE_END.saturating_add(subject.memory.0).saturating_add(ROOM_ABOVE);
    let end = xen.highest_frame(domid)?.0.saturating_add(1).min(limit);
    let vcpus = VcpuState::all(&xen.hvm_context(domid)?);
    let program = Program { kernel: subject.kernel, command: subject.name };
    write(&DomainMemory { xen, domid }, Gfn(end), &vcpus, program, file, should_stop)
}

/// Memory of a guest.
trait Memory {
    /// Reads the frames from `first` on, as many as there are elements in `present`, which says
    /// afterwards whether each has memory. What has none stays as it is in `to`, which has a page
    /// for each. Returns whether the first has memory.
    fn read(&self, first: Gfn, to: &mut [u8], present: &mut [bool]) -> Result<bool, xen::Error>;
}

struct DomainMemory<'a> {
    xen: &'a Xen,
    domid: DomId,
}

impl Memory for DomainMemory<'_> {
    fn read(&self, first: Gfn, to: &mut [u8], present: &mut [bool]) -> Result<bool, xen::Error> {
        let count = Pages(present.len() as u64);
        let mapping = SparseMapping::map_range(self.xen, self.domid, first, count)?;
        let (pages, _) = to.as_chunks_mut::<PAGE_SIZE>();
        for (index, (page, is_present)) in pages.iter_mut().zip(&mut *present).enumerate() {
            *is_present = mapping.read_page(index, page);
        }
        Ok(present.first().is_some_and(|is_present| *is_present))
    }
}

fn write(
    memory: &impl Memory,
    end: Gfn,
    vcpus: &[VcpuState],
    program: Program<'_>,
    file: &File,
    should_stop: &mut dyn FnMut() -> bool,
) -> Result<CoreSummary, DumpError> {
    let failed = |source: io::Error| DumpError::Write { source };
    let mut copy = Copy::new(vcpus.len());
    let mut buffer = vec![0; AT_ONCE * PAGE_SIZE];
    let mut present = [false; AT_ONCE];
    for first in (0..end.0).step_by(AT_ONCE) {
        if should_stop() {
            return Err(DumpError::Interrupted);
        }
        let count = usize::try_from(end.0 - first).map_or(AT_ONCE, |left| left.min(AT_ONCE));
        let present = &mut present[..count];
        memory.read(Gfn(first), &mut buffer[..count * PAGE_SIZE], present)?;
        copy.chunk(first, &buffer, present, file).map_err(failed)?;
    }
    let mut upper = match vcpus.first() {
        Some(vcpu) => paging::upper_half(memory, vcpu, should_stop)?,
        None => paging::Mappings::default(),
    };
    let length = copy.end();
    // Device memory, and what does not exist.
    upper
        .ranges
        .retain(|range| range.physical.checked_add(range.length).is_some_and(|end| end <= length));
    let room = MAX_SEGMENTS - copy.runs.len();
    if upper.ranges.len() > room {
        upper.is_cut = true;
        // A kernel's text and the mapping of all memory are among the largest.
        upper.ranges.sort_by_key(|range| std::cmp::Reverse(range.length));
        upper.ranges.truncate(room);
        upper.ranges.sort_by_key(|range| range.address);
    }
    copy.summary.is_cut = upper.is_cut;
    let segments = [copy.runs, upper.ranges].concat();
    file.write_all_at(&elf::head(&segments, vcpus, program), 0).map_err(failed)?;
    // The last pages may be a hole.
    file.set_len(DATA + length).map_err(failed)?;
    Ok(copy.summary)
}

/// Memory that is being copied.
struct Copy {
    /// Where there is memory.
    runs: Vec<Segment>,
    summary: CoreSummary,
}

impl Copy {
    fn new(vcpus: usize) -> Self {
        Self { runs: Vec::new(), summary: CoreSummary { vcpus, ..CoreSummary::default() } }
    }

    /// Copies frames from `first` on, and writes neighbours that are not all zeroes at once.
    fn chunk(&mut self, first: u64, bytes: &[u8], present: &[bool], file: &File) -> io::Result<()> {
        let (pages, _) = bytes.as_chunks::<PAGE_SIZE>();
        let is_written: Vec<bool> = pages
            .iter()
            .zip(present)
            .map(|(page, is_present)| *is_present && page.iter().any(|byte| *byte != 0))
            .collect();
        for index in (0..).zip(present).filter_map(|(index, is)| is.then_some(index)) {
            self.add(first + index);
        }
        let mut at = 0;
        for run in is_written.chunk_by(|left, right| left == right) {
            if run[0] {
                let offset = DATA + (first + at as u64) * PAGE_SIZE as u64;
                file.write_all_at(pages[at..at + run.len()].as_flattened(), offset)?;
                self.summary.written.0 += run.len() as u64;
            }
            at += run.len();
        }
        Ok(())
    }

    fn add(&mut self, frame: u64) {
        let physical = frame * PAGE_SIZE as u64;
        let is_full = self.runs.len() == MAX_RUNS;
        match self.runs.last_mut() {
            Some(last) if is_full || last.physical + last.length == physical => {
                last.length = physical + PAGE_SIZE as u64 - last.physical;
            }
            _ => self.runs.push(Segment { address: physical, physical, length: PAGE_SIZE as u64 }),
        }
        self.summary.memory.0 += 1;
    }

    /// Returns the end of the memory.
    fn end(&self) -> u64 {
        self.runs.last().map_or(0, |last| last.physical + last.length)
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
