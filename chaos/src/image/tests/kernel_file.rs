// SPDX-License-Identifier: GPL-3.0-or-later
//! Builds kernels for tests.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Where a kernel has its notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotesIn {
    Segment,
    Section,
}

/// A segment to load.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) paddr: u64,
    pub(super) mem_size: u64,
    pub(super) bytes: Vec<u8>,
}

/// A description of an ELF file, from which [`KernelFile::build`] creates it.
#[derive(Clone, Debug)]
pub(super) struct KernelFile {
    pub(super) is_64: bool,
    pub(super) machine: u16,
    pub(super) loads: Vec<Load>,
    pub(super) notes: Vec<u8>,
    pub(super) notes_in: NotesIn,
}

impl KernelFile {
    /// Returns a kernel with one segment of 8 KiB at 1 MiB, half of it in the file, and its entry
    /// at the beginning of the segment.
    pub(super) fn new() -> Self {
        let bytes = (0..4096u32).map(|i| i.to_le_bytes()[0]).collect();
        Self {
            is_64: true,
            machine: 62,
            loads: vec![Load { paddr: 0x10_0000, mem_size: 0x2000, bytes }],
            notes: note(b"Xen\0", 18, &0x10_0000u32.to_le_bytes()),
            notes_in: NotesIn::Segment,
        }
    }

    pub(super) fn i386(mut self) -> Self {
        self.is_64 = false;
        self.machine = 3;
        self
    }

    pub(super) fn load(mut self, paddr: u64, mem_size: u64, file_size: usize) -> Self {
        self.loads.push(Load { paddr, mem_size, bytes: vec![0xcc; file_size] });
        self
    }

    pub(super) fn entry(mut self, desc: &[u8]) -> Self {
        self.notes = note(b"Xen\0", 18, desc);
        self
    }

    pub(super) fn notes(mut self, notes: Vec<u8>) -> Self {
        self.notes = notes;
        self
    }

    pub(super) fn notes_in(mut self, place: NotesIn) -> Self {
        self.notes_in = place;
        self
    }

    /// Returns the file: header, program headers, segments, notes, section headers.
    pub(super) fn build(&self) -> Vec<u8> {
        let (header, program, section) = if self.is_64 { (64, 56, 64) } else { (52, 32, 40) };
        let in_segment = self.notes_in == NotesIn::Segment;
        let program_count = self.loads.len() + usize::from(in_segment);
        let mut at = header + program * program_count;
        let mut programs = Vec::new();
        for load in &self.loads {
            self.program(&mut programs, 1, at, load.paddr, load.bytes.len(), load.mem_size);
            at += load.bytes.len();
        }
        if in_segment {
            let size = self.notes.len();
            self.program(&mut programs, 4, at, 0, size, size as u64);
        }
        let notes_at = at;
        let sections_at = at + self.notes.len();

        let mut file = b"\x7fELF".to_vec();
        file.extend([if self.is_64 { 2 } else { 1 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        half(&mut file, 2);
        half(&mut file, self.machine);
        word(&mut file, 1);
        self.long(&mut file, 0);
        self.long(&mut file, header as u64);
        self.long(&mut file, if in_segment { 0 } else { sections_at as u64 });
        word(&mut file, 0);
        for size in [header, program, program_count, section, if in_segment { 0 } else { 2 }, 0] {
            half(&mut file, u16::try_from(size).unwrap());
        }
        assert_eq!(file.len(), header);
        file.extend(programs);
        self.loads.iter().for_each(|load| file.extend(&load.bytes));
        file.extend(&self.notes);
        if !in_segment {
            file.resize(file.len() + section, 0);
            word(&mut file, 0);
            word(&mut file, 7);
            for value in [0, 0, notes_at, self.notes.len()] {
                self.long(&mut file, value as u64);
            }
            file.resize(sections_at + 2 * section, 0);
        }
        file
    }

    fn program(
        &self,
        to: &mut Vec<u8>,
        kind: u32,
        offset: usize,
        paddr: u64,
        size: usize,
        mem_size: u64,
    ) {
        word(to, kind);
        if self.is_64 {
            word(to, 7);
        }
        // The virtual address is ignored.
        for value in [offset as u64, paddr ^ 0x4000_0000, paddr, size as u64, mem_size] {
            self.long(to, value);
        }
        if !self.is_64 {
            word(to, 7);
        }
        self.long(to, 8);
    }

    /// Appends a number as wide as the file's class.
    fn long(&self, to: &mut Vec<u8>, value: u64) {
        match self.is_64 {
            true => to.extend(value.to_le_bytes()),
            false => word(to, u32::try_from(value).unwrap()),
        }
    }
}

/// Returns an ELF note.
pub(super) fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for value in [name.len(), desc.len(), kind as usize] {
        word(&mut note, u32::try_from(value).unwrap());
    }
    for part in [name, desc] {
        note.extend(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

/// Returns a bzImage with one sector of setup code, `gap` bytes of other code, and the payload.
pub(super) fn bzimage(packed: &[u8], gap: usize) -> Vec<u8> {
    let mut file = vec![0; 1024 + gap];
    file[..2].copy_from_slice(b"MZ");
    file[0x1f1] = 1;
    file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    file[0x248..0x24c].copy_from_slice(&u32::try_from(gap).unwrap().to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
    file.extend(packed);
    // In real files a checksum follows.
    file.extend([1, 2, 3, 4]);
    file
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn half(to: &mut Vec<u8>, value: u16) {
    to.extend(value.to_le_bytes());
}

fn word(to: &mut Vec<u8>, value: u32) {
    to.extend(value.to_le_bytes());
}
