//! The ELF file: what to load where, and where to enter it.

use std::ops::Range;

use object::LittleEndian;
use object::ReadRef;
use object::elf::{
    DataEncoding, ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_386, EM_X86_64, FileClass,
    FileHeader32, FileHeader64, Ident, Machine, NoteType, PT_LOAD, PT_NOTE, SHT_NOTE,
};
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader, SectionHeader};

use super::error::{ImageError, Part};
use super::segment::Segment;
use super::unpack;

/// `XEN_ELFNOTE_PHYS32_ENTRY`: where a PVH domain is entered.
const PVH_NOTE: NoteType = NoteType(18);

/// Size of the part of the header that is the same in each ELF file.
const IDENT: u64 = size_of::<Ident>() as u64;

/// What an ELF file says.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) segments: Vec<Segment>,
    pub(super) entry: u32,
}

/// Reads an ELF file for i386 or x86-64.
pub(super) fn parse<'data, R: ReadRef<'data>>(data: R) -> Result<Contents, ImageError> {
    let begin = data.read_bytes_at(0, size(data).min(IDENT)).unwrap_or_default();
    if !begin.starts_with(&ELFMAG) {
        return Err(ImageError::NotElf { begins: unpack::describe(begin) });
    }
    let Some([class, encoding]) = begin.get(4..6) else {
        return Err(truncated(data, Part::Header, IDENT));
    };
    if DataEncoding(*encoding) != ELFDATA2LSB {
        return Err(ImageError::WrongMachine { found: "it is big-endian".to_owned() });
    }
    match FileClass(*class) {
        ELFCLASS32 => parse_class::<FileHeader32<LittleEndian>, R>(data, EM_386),
        ELFCLASS64 => parse_class::<FileHeader64<LittleEndian>, R>(data, EM_X86_64),
        FileClass(class) => {
            Err(ImageError::WrongMachine { found: format!("its class is {class}") })
        }
    }
}

fn parse_class<'data, Elf, R>(data: R, machine: Machine) -> Result<Contents, ImageError>
where
    Elf: FileHeader<Endian = LittleEndian>,
    R: ReadRef<'data>,
{
    let header: &Elf =
        data.read_at(0).map_err(|()| truncated(data, Part::Header, size_of::<Elf>() as u64))?;
    let found = header.e_machine(LittleEndian);
    if found != machine {
        let bits = if header.is_type_64() { 64 } else { 32 };
        let found = format!("it is {bits}-bit for machine {} (e_machine)", found.0);
        return Err(ImageError::WrongMachine { found });
    }
    let programs = program_headers(header, data)?;
    let segments = segments::<Elf, R>(programs, data)?;
    let entry = match note_in_segments::<Elf, R>(programs, data)? {
        Some(entry) => Some(entry),
        None => note_in_sections(header, data)?,
    };
    let entry = entry.ok_or(ImageError::NoPvhNote)?;
    check_entry(entry, &segments)?;
    let entry = u32::try_from(entry).map_err(|_| ImageError::EntryTooHigh { entry })?;
    Ok(Contents { segments, entry })
}

fn program_headers<'data, Elf, R>(
    header: &Elf,
    data: R,
) -> Result<&'data [Elf::ProgramHeader], ImageError>
where
    Elf: FileHeader<Endian = LittleEndian>,
    R: ReadRef<'data>,
{
    header.program_headers(LittleEndian, data).map_err(|_| {
        let entry = u64::from(header.e_phentsize(LittleEndian));
        if entry != size_of::<Elf::ProgramHeader>() as u64 {
            return ImageError::Malformed("the program headers have an unknown size");
        }
        let offset: u64 = header.e_phoff(LittleEndian).into();
        let size = entry * u64::from(header.e_phnum(LittleEndian));
        truncated(data, Part::ProgramHeaders, offset.saturating_add(size))
    })
}

/// The segments to load, checked, sorted by address.
fn segments<'data, Elf, R>(
    programs: &[Elf::ProgramHeader],
    data: R,
) -> Result<Vec<Segment>, ImageError>
where
    Elf: FileHeader<Endian = LittleEndian>,
    R: ReadRef<'data>,
{
    let mut segments = Vec::new();
    for (index, program) in programs.iter().enumerate() {
        let mem_size: u64 = program.p_memsz(LittleEndian).into();
        let (offset, file_size) = program.file_range(LittleEndian);
        if program.p_type(LittleEndian) != PT_LOAD || (mem_size == 0 && file_size == 0) {
            continue;
        }
        if file_size > mem_size {
            return Err(ImageError::SegmentShrinks { index, file_size, mem_size });
        }
        let paddr: u64 = program.p_paddr(LittleEndian).into();
        if paddr.checked_add(mem_size).is_none() {
            return Err(ImageError::SegmentOverflow { index, paddr, mem_size });
        }
        let file = file_range(data, Part::Segment(index), offset, file_size)?;
        segments.push(Segment { paddr, mem_size, index, file });
    }
    segments.sort_unstable_by_key(|segment| segment.paddr);
    for pair in segments.windows(2) {
        let [first, second] = pair else { continue };
        if first.end() > second.paddr {
            return Err(ImageError::Overlap {
                first: first.index,
                first_end: first.end(),
                second: second.index,
                second_start: second.paddr,
            });
        }
    }
    if segments.is_empty() { Err(ImageError::NoSegments) } else { Ok(segments) }
}

/// The PVH note, looked for as Xen does: in the note segments first.
fn note_in_segments<'data, Elf, R>(
    programs: &[Elf::ProgramHeader],
    data: R,
) -> Result<Option<u64>, ImageError>
where
    Elf: FileHeader<Endian = LittleEndian>,
    R: ReadRef<'data>,
{
    let mut budget = NoteBudget(size(data));
    for (index, program) in programs.iter().enumerate() {
        if program.p_type(LittleEndian) == PT_NOTE {
            let (offset, size) = program.file_range(LittleEndian);
            let part = Part::Segment(index);
            let range = file_range(data, part, offset, size)?;
            budget.spend(&range)?;
            if let Some(entry) = pvh_note::<Elf>(bytes(data, part, &range)?)? {
                return Ok(Some(entry));
            }
        }
    }
    Ok(None)
}

fn note_in_sections<'data, Elf, R>(header: &Elf, data: R) -> Result<Option<u64>, ImageError>
where
    Elf: FileHeader<Endian = LittleEndian>,
    R: ReadRef<'data>,
{
    let sections = header.section_headers(LittleEndian, data).map_err(|_| {
        let entry = u64::from(header.e_shentsize(LittleEndian));
        if entry != size_of::<Elf::SectionHeader>() as u64 {
            return ImageError::Malformed("the section headers have an unknown size");
        }
        let offset: u64 = header.e_shoff(LittleEndian).into();
        let size = entry * u64::from(header.e_shnum(LittleEndian)).max(1);
        truncated(data, Part::SectionHeaders, offset.saturating_add(size))
    })?;
    let mut budget = NoteBudget(size(data));
    for (index, section) in sections.iter().enumerate() {
        if section.sh_type(LittleEndian) == SHT_NOTE {
            let offset: u64 = section.sh_offset(LittleEndian).into();
            let size: u64 = section.sh_size(LittleEndian).into();
            let part = Part::Section(index);
            let range = file_range(data, part, offset, size)?;
            budget.spend(&range)?;
            if let Some(entry) = pvh_note::<Elf>(bytes(data, part, &range)?)? {
                return Ok(Some(entry));
            }
        }
    }
    Ok(None)
}

/// How many bytes of notes may still be read. Thousands of headers that all name the same large part
/// of a file would otherwise keep a daemon busy for hours.
struct NoteBudget(u64);

impl NoteBudget {
    fn spend(&mut self, notes: &Range<u64>) -> Result<(), ImageError> {
        let left = self.0.checked_sub(notes.end - notes.start);
        self.0 = left.ok_or(ImageError::Malformed("its notes overlap each other"))?;
        Ok(())
    }
}

/// Returns the number in the PVH note, if it is among these notes. What follows a malformed note is
/// ignored: where the next one begins is not known.
fn pvh_note<Elf>(notes: &[u8]) -> Result<Option<u64>, ImageError>
where
    Elf: FileHeader<Endian = LittleEndian>,
{
    // Xen's libelf aligns the parts of a note to 4 bytes in every file.
    let Ok(mut notes) = NoteIterator::<Elf>::new(LittleEndian, Elf::Word::default(), notes) else {
        return Ok(None);
    };
    while let Ok(Some(note)) = notes.next() {
        if note.name() == b"Xen" && note.n_type(LittleEndian) == PVH_NOTE {
            return number(note.desc()).map(Some);
        }
    }
    Ok(None)
}

/// A little-endian number of one of the sizes Xen takes.
fn number(bytes: &[u8]) -> Result<u64, ImageError> {
    if !matches!(bytes.len(), 1 | 2 | 4 | 8) {
        return Err(ImageError::BadPvhNote { size: bytes.len() });
    }
    let mut number = [0; 8];
    number[..bytes.len()].copy_from_slice(bytes);
    Ok(u64::from_le_bytes(number))
}

/// The entry must be among the bytes of the file: memory that is cleared holds no code.
fn check_entry(entry: u64, segments: &[Segment]) -> Result<(), ImageError> {
    let inside = segments
        .iter()
        .any(|segment| entry >= segment.paddr && entry - segment.paddr < segment.file_size());
    if inside { Ok(()) } else { Err(ImageError::EntryOutside { entry }) }
}

/// How large the file is.
fn size<'data>(data: impl ReadRef<'data>) -> u64 {
    // Neither memory nor a file whose metadata has been read can fail here.
    data.len().unwrap_or_default()
}

/// A part's place in the file; an empty part may be anywhere.
fn file_range<'data>(
    data: impl ReadRef<'data>,
    part: Part,
    offset: u64,
    length: u64,
) -> Result<Range<u64>, ImageError> {
    if length == 0 {
        return Ok(0..0);
    }
    let end = offset.saturating_add(length);
    if end <= size(data) { Ok(offset..end) } else { Err(truncated(data, part, end)) }
}

/// The bytes of a part.
fn bytes<'data>(
    data: impl ReadRef<'data>,
    part: Part,
    range: &Range<u64>,
) -> Result<&'data [u8], ImageError> {
    data.read_bytes_at(range.start, range.end - range.start)
        .map_err(|()| truncated(data, part, range.end))
}

fn truncated<'data>(data: impl ReadRef<'data>, part: Part, needed: u64) -> ImageError {
    ImageError::Truncated { part, needed, size: size(data) }
}
