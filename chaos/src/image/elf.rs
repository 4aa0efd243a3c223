// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads ELF files: what to load where, and where to enter it.

use object::LittleEndian;
use object::ReadRef;
use object::elf::{
    DataEncoding, ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_386, EM_X86_64, FileClass,
    FileHeader32, FileHeader64, Ident, PN_XNUM, PT_LOAD,
};
use object::read::elf::{FileHeader, ProgramHeader};

use super::error::{ImageError, Part};
use super::notes::Expectations;
use super::parts::{file_range, size, truncated};
use super::segment::Segment;
use super::{notes, unpack};

/// Size of the part of the header that is the same in all ELF files.
const IDENT: u64 = size_of::<Ident>() as u64;

/// Most segments to load. Linux has 4 or 5. Without a limit, a small packed file could have
/// millions, each of which takes a hypercall.
pub(super) const MAX_LOADS: usize = 128;

/// What an ELF file contains.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) segments: Vec<Segment>,
    /// Guest-physical address from the PVH note.
    pub(super) entry: u32,
    pub(super) expects: Expectations,
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
        ELFCLASS32 => parse_class::<FileHeader32<LittleEndian>, R>(data),
        ELFCLASS64 => parse_class::<FileHeader64<LittleEndian>, R>(data),
        FileClass(class) => {
            Err(ImageError::WrongMachine { found: format!("its class is {class}") })
        }
    }
}

fn parse_class<'data, Elf, R>(data: R) -> Result<Contents, ImageError>
where
    Elf: FileHeader<Endian = LittleEndian>,
    R: ReadRef<'data>,
{
    let header: &Elf =
        data.read_at(0).map_err(|()| truncated(data, Part::Header, size_of::<Elf>() as u64))?;
    let found = header.e_machine(LittleEndian);
    // Either in either class: the entry is in 32-bit mode, and a kernel that goes on in 64-bit mode
    // may still be linked as a 32-bit file.
    if !matches!(found, EM_386 | EM_X86_64) {
        let bits = if header.is_type_64() { 64 } else { 32 };
        let found = format!("it is {bits}-bit for machine {} (e_machine)", found.0);
        return Err(ImageError::WrongMachine { found });
    }
    let programs = program_headers(header, data)?;
    let segments = segments::<Elf, R>(programs, data)?;
    let notes = match notes::in_segments::<Elf, R>(programs, data)? {
        notes if notes.entry.is_some() => notes,
        _ => notes::in_sections(header, data)?,
    };
    let entry = notes.entry.ok_or(ImageError::NoPvhNote)?;
    check_entry(entry, &segments)?;
    let entry = u32::try_from(entry).map_err(|_| ImageError::EntryTooHigh { entry })?;
    Ok(Contents { segments, entry, expects: notes.expects })
}

fn program_headers<'data, Elf, R>(
    header: &Elf,
    data: R,
) -> Result<&'data [Elf::ProgramHeader], ImageError>
where
    Elf: FileHeader<Endian = LittleEndian>,
    R: ReadRef<'data>,
{
    let count = header.e_phnum(LittleEndian);
    if count == PN_XNUM {
        // The count is elsewhere, and larger than this.
        return Err(ImageError::TooManySegments { found: count.into() });
    }
    header.program_headers(LittleEndian, data).map_err(|_| {
        let entry = u64::from(header.e_phentsize(LittleEndian));
        if entry != size_of::<Elf::ProgramHeader>() as u64 {
            return ImageError::Malformed("the program headers have an unknown size");
        }
        let offset: u64 = header.e_phoff(LittleEndian).into();
        let size = entry * u64::from(count);
        truncated(data, Part::ProgramHeaders, offset.saturating_add(size))
    })
}

/// Returns the segments to load, checked, sorted by address.
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
        if segments.len() == MAX_LOADS {
            let loads = programs.iter().filter(|one| one.p_type(LittleEndian) == PT_LOAD);
            return Err(ImageError::TooManySegments { found: loads.count() as u64 });
        }
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

/// Checks that the entry is among the bytes of the file: memory that is only cleared holds no code.
fn check_entry(entry: u64, segments: &[Segment]) -> Result<(), ImageError> {
    let inside = segments
        .iter()
        .any(|segment| entry >= segment.paddr && entry - segment.paddr < segment.file_size());
    if inside { Ok(()) } else { Err(ImageError::EntryOutside { entry }) }
}
