// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads core files, with a library that did not write them.

use std::fs::File;
use std::os::unix::fs::FileExt;

use object::Endianness;
use object::elf::{ET_CORE, FileHeader64, PT_LOAD, PT_NOTE};
use object::read::elf::{FileHeader, ProgramHeader};

/// The room before the memory.
const HEAD: usize = 1 << 20;

/// A core file. Its memory is read when it is asked for, because dom0 has no room for all of it.
#[derive(Debug)]
pub struct CoreFile {
    file: File,
    head: Vec<u8>,
}

impl CoreFile {
    /// Opens a file.
    ///
    /// # Panics
    /// It cannot be read.
    #[must_use]
    pub fn open(path: &str) -> Self {
        let file = File::open(path).expect("the file exists");
        let mut head = vec![0; HEAD];
        file.read_exact_at(&mut head, 0).expect("the file can be read");
        Self { file, head }
    }

    fn header(&self) -> (&FileHeader64<Endianness>, Endianness) {
        let header = FileHeader64::parse(&*self.head).expect("an ELF file of 64 bits");
        (header, header.endian().expect("a byte order"))
    }

    /// Returns whether a text is anywhere in it.
    ///
    /// # Panics
    /// It cannot be read.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        let length = self.file.metadata().expect("it is open").len();
        let mut buffer = vec![0; HEAD + text.len()];
        (0..length).step_by(HEAD).any(|at| {
            let read = self.file.read_at(&mut buffer, at).expect("the file can be read");
            buffer[..read].windows(text.len()).any(|bytes| bytes == text.as_bytes())
        })
    }

    /// Returns the bytes at an address that a debugger would ask for.
    ///
    /// # Panics
    /// There are none.
    #[must_use]
    pub fn at(&self, address: u64, length: usize) -> Vec<u8> {
        let (header, endian) = self.header();
        let rows = header.program_headers(endian, &*self.head).expect("a table of segments");
        let row = rows
            .iter()
            .filter(|row| row.p_type(endian) == PT_LOAD)
            .find(|row| {
                let offset = address.checked_sub(row.p_vaddr(endian));
                offset.is_some_and(|offset| offset < row.p_filesz(endian))
            })
            .unwrap_or_else(|| panic!("no segment has {address:#x}"));
        let mut bytes = vec![0; length];
        let offset = row.p_offset(endian) + (address - row.p_vaddr(endian));
        self.file.read_exact_at(&mut bytes, offset).expect("the file has it");
        bytes
    }

    /// Returns how many pages it has at physical addresses.
    ///
    /// # Panics
    /// It is not a core file.
    #[must_use]
    pub fn pages(&self) -> u64 {
        let (header, endian) = self.header();
        let rows = header.program_headers(endian, &*self.head).expect("a table of segments");
        let rows = rows.iter().filter(|row| row.p_type(endian) == PT_LOAD);
        // Virtual addresses are in the upper half.
        let physical = rows.filter(|row| row.p_vaddr(endian) >> 63 == 0);
        physical.map(|row| row.p_filesz(endian) >> 12).sum()
    }

    /// Returns the instruction pointer of each thread.
    ///
    /// # Panics
    /// It is not a core file.
    #[must_use]
    pub fn instruction_pointers(&self) -> Vec<u64> {
        let (header, endian) = self.header();
        assert_eq!(header.e_type(endian), ET_CORE);
        let rows = header.program_headers(endian, &*self.head).expect("a table of segments");
        let mut found = Vec::new();
        for row in rows.iter().filter(|row| row.p_type(endian) == PT_NOTE) {
            let mut notes = row.notes(endian, &*self.head).expect("notes").expect("notes");
            while let Some(note) = notes.next().expect("a note") {
                if note.n_type(endian).0 == 1 {
                    let rip = &note.desc()[112 + 16 * 8..][..8];
                    found.push(u64::from_le_bytes(rip.try_into().expect("8 bytes")));
                }
            }
        }
        found
    }
}
