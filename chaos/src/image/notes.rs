// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads the ELF notes that matter: where a kernel is entered, and how it finds its devices.

use std::ops::Range;

use noxs::layout::note;
use object::LittleEndian;
use object::ReadRef;
use object::elf::{NoteType, PT_NOTE, SHT_NOTE};
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader, SectionHeader};

use super::error::{ImageError, Part};
use super::parts::{bytes, file_range, size, truncated};

/// `XEN_ELFNOTE_PHYS32_ENTRY`: where a PVH domain is entered.
const PVH_NOTE: NoteType = NoteType(18);

/// `XEN_ELFNOTE_GUEST_OS`: the name of the operating system.
const OS_NOTE: NoteType = NoteType(6);

/// The version of the device page that the kernel reads.
const PAGE_NOTE: NoteType = NoteType(note::VERSION);

/// Most bytes of notes that are read. Linux has less than 1 KiB.
const MAX_NOTES: u64 = 1 << 20;

/// Most parts of a file that contain notes. Each is read on its own.
const MAX_PARTS: usize = 128;

/// What the notes of a kernel say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// Where a PVH domain is entered.
    pub(super) entry: Option<u64>,
    /// What the kernel expects of its toolstack.
    pub(super) expects: Expectations,
}

/// What a kernel expects of its toolstack, as its notes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    /// The major version of the device page that it reads, if it reads one.
    pub device_page: Option<u16>,
    /// Whether it uses the IPv6 addresses in the device page.
    pub uses_ipv6: bool,
    /// Whether it names an operating system, or is Linux. Other kernels, such as the tests of Xen's
    /// test framework, may need no device at all.
    pub is_operating_system: bool,
}

/// Reads the note segments, where Xen looks first.
pub(super) fn in_segments<'data, Elf, R>(
    programs: &[Elf::ProgramHeader],
    data: R,
) -> Result<Notes, ImageError>
where
    Elf: FileHeader<Endian = LittleEndian>,
    R: ReadRef<'data>,
{
    let mut budget = NoteBudget::new(data);
    let mut notes = Notes::default();
    for (index, program) in programs.iter().enumerate() {
        if program.p_type(LittleEndian) == PT_NOTE {
            let (offset, size) = program.file_range(LittleEndian);
            let part = Part::Segment(index);
            let range = file_range(data, part, offset, size)?;
            budget.spend(&range)?;
            notes.add::<Elf>(bytes(data, part, &range)?)?;
        }
    }
    Ok(notes)
}

/// Reads the note sections, where Xen looks if no segment has a PVH note.
pub(super) fn in_sections<'data, Elf, R>(header: &Elf, data: R) -> Result<Notes, ImageError>
where
    Elf: FileHeader<Endian = LittleEndian>,
    R: ReadRef<'data>,
{
    if header.e_shnum(LittleEndian) == 0 && header.e_shoff(LittleEndian).into() != 0 {
        // The count is elsewhere, and may be any number.
        return Err(ImageError::Malformed("it has more than 65279 sections"));
    }
    let sections = header.section_headers(LittleEndian, data).map_err(|_| {
        let entry = u64::from(header.e_shentsize(LittleEndian));
        if entry != size_of::<Elf::SectionHeader>() as u64 {
            return ImageError::Malformed("the section headers have an unknown size");
        }
        let offset: u64 = header.e_shoff(LittleEndian).into();
        let size = entry * u64::from(header.e_shnum(LittleEndian)).max(1);
        truncated(data, Part::SectionHeaders, offset.saturating_add(size))
    })?;
    let mut budget = NoteBudget::new(data);
    let mut notes = Notes::default();
    for (index, section) in sections.iter().enumerate() {
        if section.sh_type(LittleEndian) == SHT_NOTE {
            let offset: u64 = section.sh_offset(LittleEndian).into();
            let size: u64 = section.sh_size(LittleEndian).into();
            let part = Part::Section(index);
            let range = file_range(data, part, offset, size)?;
            budget.spend(&range)?;
            notes.add::<Elf>(bytes(data, part, &range)?)?;
        }
    }
    Ok(notes)
}

/// How many bytes of notes may still be read, and in how many parts. In total, they are as many as
/// the file has. Without a limit, thousands of headers that all name the same large part of a file
/// would keep a daemon busy for hours.
struct NoteBudget {
    bytes_in_file: u64,
    bytes: u64,
    parts: usize,
}

impl NoteBudget {
    fn new<'data>(data: impl ReadRef<'data>) -> Self {
        Self { bytes_in_file: size(data), bytes: MAX_NOTES, parts: MAX_PARTS }
    }

    fn spend(&mut self, notes: &Range<u64>) -> Result<(), ImageError> {
        let count = notes.end - notes.start;
        let left =
            |from: u64, problem| from.checked_sub(count).ok_or(ImageError::Malformed(problem));
        self.bytes_in_file = left(self.bytes_in_file, "its notes overlap each other")?;
        self.bytes = left(self.bytes, "it has more than 1 MiB of notes")?;
        let parts = self.parts.checked_sub(1);
        self.parts = parts.ok_or(ImageError::Malformed("it has notes in more than 128 parts"))?;
        Ok(())
    }
}

impl Notes {
    /// Adds what these notes say. The first PVH note counts. Notes after a malformed one are
    /// ignored, because it is unknown where they begin.
    fn add<Elf>(&mut self, notes: &[u8]) -> Result<(), ImageError>
    where
        Elf: FileHeader<Endian = LittleEndian>,
    {
        // Xen's libelf aligns the parts of a note to 4 bytes in every file.
        let notes = NoteIterator::<Elf>::new(LittleEndian, Elf::Word::default(), notes);
        let Ok(mut notes) = notes else { return Ok(()) };
        while let Ok(Some(found)) = notes.next() {
            match (found.name(), found.n_type(LittleEndian)) {
                (b"Xen", PVH_NOTE) if self.entry.is_none() => {
                    self.entry = Some(number(found.desc())?);
                }
                (b"Xen", OS_NOTE) | (b"Linux", _) => self.expects.is_operating_system = true,
                (owner, PAGE_NOTE) if owner == note::OWNER.as_bytes() => {
                    let (major, minor) = page_version(found.desc())?;
                    self.expects.device_page = Some(major);
                    self.expects.uses_ipv6 = minor >= note::IPV6_SINCE;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Returns the major and the minor version of the device page from the descriptor of its note.
fn page_version(desc: &[u8]) -> Result<(u16, u16), ImageError> {
    match *desc {
        [a, b, c, d] => Ok((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))),
        _ => Err(ImageError::BadDevicePageNote { size: desc.len() }),
    }
}

/// Reads a little-endian number of one of the sizes that Xen accepts.
fn number(bytes: &[u8]) -> Result<u64, ImageError> {
    if !matches!(bytes.len(), 1 | 2 | 4 | 8) {
        return Err(ImageError::BadPvhNote { size: bytes.len() });
    }
    let mut number = [0; 8];
    number[..bytes.len()].copy_from_slice(bytes);
    Ok(u64::from_le_bytes(number))
}
