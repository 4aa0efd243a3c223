// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads the core files of xl, whose format is that of `tools/libs/guest/xg_core.c`.

use std::fs;

use object::Endianness;
use object::elf::{ET_CORE, FileHeader64};
use object::read::elf::{FileHeader, SectionHeader};

/// Bytes of a page.
const PAGE: usize = 4096;

/// Where `rip` is in a `vcpu_guest_context` of x86-64 (`xen/include/public/arch-x86/xen.h`): behind 512
/// bytes of the FPU, the flags, and 16 registers of 8 bytes.
const RIP: usize = 512 + 8 + 16 * 8;

/// A core file of xl.
#[derive(Debug)]
pub struct XlCore {
    /// The instruction pointer of each vCPU.
    pub instruction_pointers: Vec<u64>,
    /// The numbers of the pages that the guest has, with their bytes.
    pub pages: Vec<(u64, Vec<u8>)>,
}

impl XlCore {
    /// Reads a file.
    ///
    /// # Panics
    /// It is not a core file of xl.
    #[must_use]
    pub fn open(path: &str) -> Self {
        let data = fs::read(path).expect("xl has written it");
        let header = FileHeader64::<Endianness>::parse(&*data).expect("an ELF file of 64 bits");
        let endian = header.endian().expect("a byte order");
        assert_eq!(header.e_type(endian), ET_CORE);
        let sections = header.sections(endian, &*data).expect("a table of sections");
        let section = |name: &str| {
            let found = sections.section_by_name(endian, name.as_bytes());
            let (_, section) = found.unwrap_or_else(|| panic!("no section {name}"));
            section.data(endian, &*data).expect("the file has it")
        };
        assert!(section(".note.Xen").windows(4).any(|bytes| bytes == b"Xen\0"));
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        let (_, contexts) =
            sections.section_by_name(endian, b".xen_prstatus").expect("a section with vCPUs");
        let size = usize::try_from(contexts.sh_entsize(endian)).expect("a size");
        let contexts = section(".xen_prstatus").chunks(size);
        // What a page has no number for was not there any more.
        let numbers = section(".xen_pfn").chunks(8).map(number);
        let pages = numbers.zip(section(".xen_pages").chunks(PAGE)).filter(|row| row.0 != u64::MAX);
        Self {
            instruction_pointers: contexts.map(|vcpu| number(&vcpu[RIP..][..8])).collect(),
            pages: pages.map(|(number, bytes)| (number, bytes.to_vec())).collect(),
        }
    }
}
