// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the PVH boot protocol passes to the guest (`public/arch-x86/hvm/start_info.h`): the memory
//! map, the command line and the boot modules, one of which is the device page.

use core::ops::Range;

use xen_abi::start_info::{
    Physical, StartInfo as Header, StartInfoError, View, XEN_HVM_MEMMAP_TYPE_RAM,
};

use crate::layout::{MAPPED, PAGE_SIZE_U64};

/// The most pieces of usable memory; more are ignored.
pub(crate) const MAX_REGIONS: usize = 8;

/// The most modules; more are ignored.
const MAX_MODULES: u32 = 16;

/// The longest command line, in bytes; the rest is ignored. `chaos` keeps the command line within
/// one page.
const MAX_COMMAND_LINE: u64 = PAGE_SIZE_U64;

/// The longest name of a module, in bytes.
const MAX_MODULE_NAME: u64 = noxs::MODULE_NAME.len() as u64 + 1;

/// The contents of start_info.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StartInfo {
    /// Usable memory in whole pages, without page 0 and without what start_info points to. It still
    /// includes the image.
    pub(crate) memory: Regions,
    /// The end of the highest memory, usable or reserved.
    pub(crate) memory_end: u64,
    /// The address of the device page.
    pub(crate) device_page: Option<u64>,
    /// The addresses of the command line, without the final zero.
    pub(crate) command_line: Range<u64>,
}

/// Ranges of addresses, in whole pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Regions {
    regions: [Range<u64>; MAX_REGIONS],
    count: usize,
}

impl Regions {
    /// Adds the whole pages of a piece, if a slot is free.
    fn add(&mut self, piece: Range<u64>) {
        let start = piece.start.next_multiple_of(PAGE_SIZE_U64);
        let end = piece.end & !(PAGE_SIZE_U64 - 1);
        if start < end && self.count < MAX_REGIONS {
            self.regions[self.count] = start..end;
            self.count += 1;
        }
    }

    /// Removes all pages that `hole` overlaps.
    pub(crate) fn remove(&mut self, hole: Range<u64>) {
        if hole.is_empty() {
            return;
        }
        let old = core::mem::take(self);
        for piece in old.iter() {
            self.add(piece.start..piece.end.min(hole.start & !(PAGE_SIZE_U64 - 1)));
            self.add(piece.start.max(hole.end)..piece.end);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.regions.iter().take(self.count).cloned()
    }
}

/// Reads start_info at `address`. dom0 is trusted with the guest's memory map, but a damaged one
/// causes an error, never an invalid access.
pub(crate) fn parse(
    memory: &(impl Physical + ?Sized),
    address: u64,
) -> Result<StartInfo, StartInfoError> {
    let view = View::open(memory, address)?;
    let command_line = view.text(view.info.cmdline_paddr, MAX_COMMAND_LINE)?;
    let mut info = StartInfo { command_line, ..Default::default() };
    for entry in view.memory_map() {
        let entry = entry?;
        let (start, end) = (entry.addr, entry.addr.saturating_add(entry.size));
        // This runtime cannot use memory beyond its page tables.
        if start < MAPPED {
            info.memory_end = info.memory_end.max(end.min(MAPPED));
        }
        if entry.kind == XEN_HVM_MEMMAP_TYPE_RAM {
            info.memory.add(start.max(PAGE_SIZE_U64)..end.min(MAPPED));
        }
    }
    info.memory.remove(address..address + size_of::<Header>() as u64);
    info.memory.remove(info.command_line.clone());
    for module in view.modules(MAX_MODULES) {
        let module = module?;
        let name = view.text(module.cmdline_paddr, MAX_MODULE_NAME)?;
        info.memory.remove(module.paddr..module.paddr.saturating_add(module.size));
        let mut text = [0; noxs::MODULE_NAME.len()];
        if name.end - name.start == text.len() as u64 {
            view.bytes(name.start, &mut text)?;
            if text == noxs::MODULE_NAME.as_bytes() {
                info.device_page = Some(module.paddr);
            }
        }
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use xen_abi::start_info::{
        MemmapEntry, ModlistEntry, VERSION, XEN_HVM_MEMMAP_TYPE_RESERVED, XEN_HVM_START_MAGIC_VALUE,
    };
    use zerocopy::IntoBytes;

    use super::*;

    const TOP: usize = 0xf_0000;

    fn put(memory: &mut [u8], at: usize, bytes: &[u8]) {
        memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Returns memory of 1 MiB whose last 16 pages are reserved and hold what dom0 creates.
    fn machine() -> Vec<u8> {
        let mut memory = std::vec![0; 1 << 20];
        let words: [u64; 7] = [
            u64::from(XEN_HVM_START_MAGIC_VALUE) | 1 << 32,
            2 << 32,
            TOP as u64 + 0x100,
            TOP as u64 + 0x200,
            0,
            TOP as u64 + 0x300,
            2,
        ];
        for (word, value) in words.into_iter().enumerate() {
            put(&mut memory, TOP + word * 8, &value.to_le_bytes());
        }
        for (module, (start, name)) in
            [(0x8_0000u64, 0u64), (0xf_1000, 0xf_0210)].iter().enumerate()
        {
            put(&mut memory, TOP + 0x100 + module * 32, &start.to_le_bytes());
            put(&mut memory, TOP + 0x108 + module * 32, &0x1000u64.to_le_bytes());
            put(&mut memory, TOP + 0x110 + module * 32, &name.to_le_bytes());
        }
        put(&mut memory, TOP + 0x200, b"a=1 b\0");
        put(&mut memory, TOP + 0x210, b"noxs\0");
        for (entry, (start, size, kind)) in
            [(0u64, TOP as u64, 1u64), (TOP as u64, 0x1_0000, 2)].iter().enumerate()
        {
            put(&mut memory, TOP + 0x300 + entry * 24, &start.to_le_bytes());
            put(&mut memory, TOP + 0x308 + entry * 24, &size.to_le_bytes());
            put(&mut memory, TOP + 0x310 + entry * 24, &kind.to_le_bytes());
        }
        memory
    }

    #[test]
    fn memory_command_line_and_device_page_are_found() {
        let info = parse(&machine()[..], TOP as u64).unwrap();
        let memory: Vec<_> = info.memory.iter().collect();
        assert_eq!(memory, [0x1000..0x8_0000, 0x8_1000..0xf_0000]);
        assert_eq!(info.memory_end, 1 << 20);
        assert_eq!(info.device_page, Some(0xf_1000));
        assert_eq!(info.command_line, 0xf_0200..0xf_0205);
    }

    /// The structures are `xen_abi`'s, which the toolstack writes too.
    #[test]
    fn structures_of_the_toolstack_are_parsed() {
        let at = |offset: usize| (TOP + offset) as u64;
        let header = Header {
            magic: XEN_HVM_START_MAGIC_VALUE,
            version: VERSION,
            nr_modules: 1,
            modlist_paddr: at(56),
            cmdline_paddr: at(0x200),
            memmap_paddr: at(88),
            memmap_entries: 2,
            ..Header::default()
        };
        let module = ModlistEntry {
            paddr: at(0x1000),
            size: 0x1000,
            cmdline_paddr: at(0x210),
            ..ModlistEntry::default()
        };
        let ram = MemmapEntry {
            size: TOP as u64,
            kind: XEN_HVM_MEMMAP_TYPE_RAM,
            ..MemmapEntry::default()
        };
        let reserved = MemmapEntry {
            addr: TOP as u64,
            size: 0x1_0000,
            kind: XEN_HVM_MEMMAP_TYPE_RESERVED,
            ..MemmapEntry::default()
        };
        let mut memory = std::vec![0; 1 << 20];
        put(&mut memory, TOP, header.as_bytes());
        put(&mut memory, TOP + 56, module.as_bytes());
        put(&mut memory, TOP + 88, [ram, reserved].as_bytes());
        put(&mut memory, TOP + 0x200, b"a=1 b\0");
        put(&mut memory, TOP + 0x210, noxs::MODULE_NAME.as_bytes());
        let info = parse(&memory[..], TOP as u64).unwrap();
        assert!(info.memory.iter().eq(std::iter::once(0x1000..TOP as u64)));
        assert_eq!(info.memory_end, 1 << 20);
        assert_eq!(info.device_page, Some(at(0x1000)));
        assert_eq!(info.command_line, at(0x200)..at(0x205));
    }

    #[test]
    fn the_longest_command_line_of_chaos_is_read_to_its_end() {
        let mut memory = machine();
        let start = 0xe_0000;
        put(&mut memory, TOP + 24, &(start as u64).to_le_bytes());
        memory[start..start + 3890].fill(b'x');
        let info = parse(&memory[..], TOP as u64).unwrap();
        assert_eq!(info.command_line, start as u64..start as u64 + 3890);
    }

    #[test]
    fn a_missing_device_page_is_not_an_error_here() {
        let mut memory = machine();
        put(&mut memory, TOP + 0x210, b"noxz");
        assert_eq!(parse(&memory[..], TOP as u64).unwrap().device_page, None);
    }

    #[test]
    fn a_damaged_start_info_is_refused() {
        let mut memory = machine();
        put(&mut memory, TOP + 48, &0u32.to_le_bytes());
        assert_eq!(parse(&memory[..], TOP as u64), Err(StartInfoError::NoMemoryMap));
        put(&mut memory, TOP + 16, &u64::MAX.to_le_bytes());
        put(&mut memory, TOP + 48, &2u32.to_le_bytes());
        assert_eq!(parse(&memory[..], TOP as u64), Err(StartInfoError::Address(u64::MAX)));
        assert_eq!(parse(&memory[..], 0), Err(StartInfoError::Magic(0)));
        assert_eq!(parse(&memory[..], 1 << 20), Err(StartInfoError::Address(1 << 20)));
    }

    #[test]
    fn holes_split_and_shorten_pieces() {
        let mut regions = Regions::default();
        regions.add(0x1800..0x9000);
        regions.remove(0x4001..0x4002);
        regions.remove(0x8fff..0x20000);
        regions.remove(0x7000..0x7000);
        assert_eq!(regions.iter().collect::<Vec<_>>(), [0x2000..0x4000, 0x5000..0x8000]);
    }
}
