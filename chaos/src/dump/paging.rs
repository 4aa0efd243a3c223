// SPDX-License-Identifier: GPL-3.0-or-later
//! The addresses at which a guest's kernel sees its memory: the upper half of the addresses that its
//! page tables map (AMD64 Architecture Programmer's Manual, volume 2, chapter 5).
//!
//! A debugger with a kernel's symbols asks for these. The lower half is left out: there, a core file
//! shows physical addresses, which are those of a guest that maps memory one to one.
//!
//! The guest writes the page tables, so the number of tables and ranges that are read is limited.

use xen::units::{Gfn, PAGE_SIZE};
use xen::vcpu_state::{Register, VcpuState};

use super::elf::Segment;
use super::{DumpError, Memory};

/// The most tables that are read. So many map 128 GiB in pages of 4 KiB. Tables that a guest lists
/// again and again count each time.
const MAX_TABLES: usize = 1 << 16;

/// The most ranges that are collected.
const MAX_RANGES: usize = 1 << 18;

const PAGING: u64 = 1 << 31;
const LONG_MODE_ACTIVE: u64 = 1 << 10;
const FIVE_LEVELS: u64 = 1 << 12;

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const FRAME: u64 = 0x000f_ffff_ffff_f000;

const ENTRIES: u64 = 512;

/// What the upper half maps.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    /// The ranges, by address.
    pub(super) ranges: Vec<Segment>,
    /// Whether a limit was reached, so that some are missing.
    pub(super) is_cut: bool,
}

/// Returns what the upper half of a vCPU's addresses maps; nothing if the vCPU is not in 64-bit mode.
/// `should_stop` is called for each table, because a guest can list tens of thousands.
///
/// # Errors
/// Memory cannot be mapped, or `should_stop` returns true. A table without memory maps nothing.
pub(super) fn upper_half(
    memory: &impl Memory,
    vcpu: &VcpuState,
    should_stop: &mut dyn FnMut() -> bool,
) -> Result<Mappings, DumpError> {
    let is_paging = vcpu.get(Register::Cr0) & PAGING != 0;
    let mut walk = Walk { memory, should_stop, tables: 0, found: Mappings::default() };
    if is_paging && vcpu.get(Register::Efer) & LONG_MODE_ACTIVE != 0 {
        let levels = if vcpu.get(Register::Cr4) & FIVE_LEVELS == 0 { 4 } else { 5 };
        // Addresses above the highest level's bits have the value of its last bit.
        let upper = u64::MAX << (11 + 9 * levels);
        walk.table(vcpu.get(Register::Cr3) & FRAME, levels, upper, ENTRIES / 2)?;
    }
    Ok(walk.found)
}

struct Walk<'a, M> {
    memory: &'a M,
    should_stop: &'a mut dyn FnMut() -> bool,
    tables: usize,
    found: Mappings,
}

impl<M: Memory> Walk<'_, M> {
    /// Adds what the entries from `first` on of a table map. `base` is the address that the first of
    /// them maps.
    fn table(&mut self, table: u64, level: u32, base: u64, first: u64) -> Result<(), DumpError> {
        if (self.should_stop)() {
            return Err(DumpError::Interrupted);
        }
        if self.tables == MAX_TABLES {
            self.found.is_cut = true;
            return Ok(());
        }
        self.tables += 1;
        let mut page = [0; PAGE_SIZE];
        if !self.memory.read(Gfn(table / PAGE_SIZE as u64), &mut page, &mut [false])? {
            return Ok(());
        }
        let size = 1u64 << (3 + 9 * level);
        let entries = page
            .chunks_exact(8)
            .map(|bytes| bytes.iter().rev().fold(0, |entry, byte| entry << 8 | u64::from(*byte)));
        for (index, entry) in
            (0..ENTRIES - first).zip(entries.skip(usize::try_from(first).unwrap_or(0)))
        {
            let address = base + index * size;
            let is_leaf = level == 1 || (level <= 3 && entry & LARGE != 0);
            match (entry & PRESENT != 0, is_leaf) {
                (false, _) => {}
                // The lowest bits of a large page's frame hold attributes.
                (true, true) => self.leaf(address, entry & FRAME & !(size - 1), size),
                (true, false) => self.table(entry & FRAME, level - 1, address, 0)?,
            }
        }
        Ok(())
    }

    fn leaf(&mut self, address: u64, physical: u64, length: u64) {
        if let Some(last) = self.found.ranges.last_mut()
            && last.address.wrapping_add(last.length) == address
            && last.physical + last.length == physical
        {
            last.length += length;
        } else if self.found.ranges.len() < MAX_RANGES {
            self.found.ranges.push(Segment { address, physical, length });
        } else {
            self.found.is_cut = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use xen_abi::hvm::hw_cpu;

    use super::super::testing::{Pages, vcpu};
    use super::*;

    /// Page tables: entries by table and index.
    fn tables(entries: &[(u64, usize, u64)]) -> Pages {
        let mut pages = BTreeMap::new();
        for (table, index, entry) in entries {
            let page: &mut [u8; PAGE_SIZE] = pages.entry(*table).or_insert([0; PAGE_SIZE]);
            page[index * 8..][..8].copy_from_slice(&entry.to_le_bytes());
        }
        Pages(pages)
    }

    const CR3: u64 = 0x1000;

    fn walk(entries: &[(u64, usize, u64)], levels: u64) -> Mappings {
        let cr4 = if levels == 5 { FIVE_LEVELS } else { 0 };
        let vcpu = vcpu(&[
            (hw_cpu::CR0, PAGING),
            (hw_cpu::MSR_EFER, LONG_MODE_ACTIVE),
            (hw_cpu::CR3, CR3),
            (hw_cpu::CR4, cr4),
        ]);
        upper_half(&tables(entries), &vcpu, &mut || false).unwrap()
    }

    #[test]
    fn neighbours_are_joined_and_large_pages_are_followed() {
        let found = walk(
            &[
                // The lower half.
                (1, 0, 0x2003),
                // A kernel's text: two pages of 2 MiB, then pages of 4 KiB with a gap.
                (1, 511, 0x2003),
                (2, 510, 0x3003),
                (3, 8, 0x0080_0083),
                (3, 9, 0x00a0_0000 | 0x1083),
                (3, 10, 0x4003),
                (4, 0, 0x00c0_0001 | 1 << 63),
                (4, 2, 0x00c0_2001),
                // All memory, in a page of 1 GiB.
                (1, 273, 0x5003),
                (5, 0, 0x83),
            ],
            4,
        );
        assert!(!found.is_cut);
        let shown: Vec<_> = found
            .ranges
            .iter()
            .map(|range| (range.address, range.physical, range.length))
            .collect();
        assert_eq!(
            shown,
            [
                (0xffff_8880_0000_0000, 0, 1 << 30),
                (0xffff_ffff_8100_0000, 0x80_0000, 0x40_1000),
                (0xffff_ffff_8140_2000, 0xc0_2000, 0x1000),
            ]
        );
    }

    #[test]
    fn five_levels_begin_lower() {
        let entries = [(1, 256, 0x2003), (2, 0, 0x3003), (3, 0, 0x83)];
        let found = walk(&entries, 5);
        let expected = Segment { address: 0xff00_0000_0000_0000, physical: 0, length: 1 << 30 };
        assert_eq!(found.ranges, [expected]);
    }

    #[test]
    fn tables_that_list_themselves_end_at_a_limit() {
        let mut entries = Vec::new();
        for index in 0..512 {
            entries.push((1, index, CR3 | 3));
        }
        let found = walk(&entries, 4);
        assert!(found.is_cut && found.ranges.len() <= MAX_RANGES);
    }

    #[test]
    fn a_walk_stops_at_the_next_table() {
        let entries: Vec<_> = (0..512).map(|index| (1, index, CR3 | 3)).collect();
        let registers =
            [(hw_cpu::CR0, PAGING), (hw_cpu::MSR_EFER, LONG_MODE_ACTIVE), (hw_cpu::CR3, CR3)];
        let mut tables_read = 0;
        let mut should_stop = || {
            tables_read += 1;
            tables_read == 3
        };
        let stopped = upper_half(&tables(&entries), &vcpu(&registers), &mut should_stop);
        assert!(matches!(stopped, Err(DumpError::Interrupted)), "{stopped:?}");
        assert_eq!(tables_read, 3);
    }

    #[test]
    fn without_64_bit_paging_or_tables_nothing_is_mapped() {
        let memory = tables(&[(1, 511, 0x0900_0003)]);
        for registers in [
            &[(hw_cpu::CR3, CR3)][..],
            &[(hw_cpu::CR3, CR3), (hw_cpu::CR0, PAGING)],
            // The table that it lists has no memory.
            &[(hw_cpu::CR3, CR3), (hw_cpu::CR0, PAGING), (hw_cpu::MSR_EFER, LONG_MODE_ACTIVE)],
        ] {
            let found = upper_half(&memory, &vcpu(registers), &mut || false).unwrap();
            assert!(found.ranges.is_empty() && !found.is_cut, "{registers:?}");
        }
    }
}
