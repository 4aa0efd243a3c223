// SPDX-License-Identifier: GPL-3.0-or-later
//! The ACPI tables of a guest in XenStore mode.
//!
//! Linux finds its CPUs in the table MADT, and starts no timer without it. The other tables are
//! those that Linux needs to reach the MADT, from `rsdp_paddr` in the boot page on.
//!
//! Source: the ACPI specification 6.4, chapter 5.2.

use noxs::PAGE_SIZE;

use super::page::Page;

/// Bytes of the header of each table except the RSDP.
const HEADER: usize = 36;

/// Offsets of the tables in their page.
const RSDP: usize = 0;
const XSDT: usize = 0x40;
const DSDT: usize = 0x80;
const FADT: usize = 0x100;
const MADT: usize = 0x240;

const RSDP_SIZE: usize = 36;
const XSDT_SIZE: usize = HEADER + 2 * 8;
const FADT_SIZE: usize = 276;
const LAPIC_SIZE: usize = 8;

/// `FADT`: no VGA and no CMOS clock (5.2.9.3).
const BOOT_FLAGS: u16 = 1 << 2 | 1 << 5;

/// `FADT`: `HW_REDUCED_ACPI`, without ACPI's registers.
const HARDWARE_REDUCED: u32 = 1 << 20;

/// Address of the local APIC, the same for each vCPU.
const LAPIC_ADDRESS: u32 = 0xfee0_0000;

/// Returns the page of tables of a guest that starts with `online` of its `vcpus` vCPUs, for the
/// physical address `address`. Fields that are not set are zero.
pub(super) fn tables(address: u64, vcpus: u32, online: u32) -> Vec<u8> {
    let madt_size = HEADER + 8 + LAPIC_SIZE * vcpus as usize;
    debug_assert!(MADT + madt_size <= PAGE_SIZE, "{vcpus} vCPUs");
    let mut page = Page::new(MADT + madt_size);
    let at = |offset: usize| address + offset as u64;

    page.put(RSDP, b"RSD PTR ");
    page.put(RSDP + 9, OEM);
    page.put(RSDP + 15, &[2]);
    page.u32(RSDP + 20, length(RSDP_SIZE));
    page.u64(RSDP + 24, at(XSDT));
    // The first 20 bytes are the table of revision 1, with a checksum of its own.
    page.checksum(RSDP, 20, 8);
    page.checksum(RSDP, RSDP_SIZE, 32);

    page.u64(XSDT + HEADER, at(FADT));
    page.u64(XSDT + HEADER + 8, at(MADT));
    page.header(XSDT, XSDT_SIZE, *b"XSDT", 1);

    // Without devices.
    page.header(DSDT, HEADER, *b"DSDT", 2);

    // A table above 4 GiB has its address only in the 64-bit field, and 0 in this one.
    page.u32(FADT + 40, u32::try_from(at(DSDT)).unwrap_or(0));
    page.put(FADT + 109, &BOOT_FLAGS.to_le_bytes());
    page.u32(FADT + 112, HARDWARE_REDUCED);
    page.u64(FADT + 140, at(DSDT));
    page.header(FADT, FADT_SIZE, *b"FACP", 6);

    page.u32(MADT + HEADER, LAPIC_ADDRESS);
    for (number, lapic) in (0..vcpus).zip((MADT + HEADER + 8..).step_by(LAPIC_SIZE)) {
        // In Xen, vCPU n has the local APIC id 2n (`vlapic.c`).
        let [id, ..] = number.to_le_bytes();
        let [apic_id, ..] = (2 * number).to_le_bytes();
        page.put(lapic, &[0, 8, id, apic_id, u8::from(number < online)]);
    }
    page.header(MADT, madt_size, *b"APIC", 4);
    page.into_bytes()
}

/// The author of the tables, six bytes.
const OEM: &[u8; 6] = b"chaos ";

/// Returns a length in the type that the tables use.
#[expect(clippy::cast_possible_truncation, reason = "shorter than a page")]
const fn length(size: usize) -> u32 {
    size as u32
}

impl Page {
    /// Adds the header to a table whose content is complete.
    fn header(&mut self, at: usize, size: usize, signature: [u8; 4], revision: u8) {
        self.put(at, &signature);
        self.u32(at + 4, length(size));
        self.put(at + 8, &[revision]);
        self.put(at + 10, OEM);
        self.put(at + 16, b"chaos   ");
        self.put(at + 28, b"chao");
        self.checksum(at, size, 9);
    }

    /// Sets the byte at `place` of a table so that the sum of the table's bytes is zero.
    fn checksum(&mut self, at: usize, size: usize, place: usize) {
        let sum = self.get(at..at + size).iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        self.put(at + place, &[sum.wrapping_neg()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: u64 = 0x80_1000;

    fn u32_at(page: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(page[at..at + 4].try_into().unwrap())
    }

    fn u64_at(page: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(page[at..at + 8].try_into().unwrap())
    }

    /// Returns the table at an address, after checking its signature and its checksum.
    fn table<'a>(page: &'a [u8], address: u64, signature: &[u8]) -> &'a [u8] {
        let at = usize::try_from(address - ADDRESS).unwrap();
        let size = usize::try_from(u32_at(page, at + 4)).unwrap();
        let table = &page[at..at + size];
        assert_eq!(&table[..4], signature);
        assert_eq!(table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        table
    }

    #[test]
    fn each_table_contains_the_address_of_the_next() {
        let page = tables(ADDRESS, 3, 3);
        for size in [20, RSDP_SIZE] {
            assert_eq!(page[..size].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        }
        let xsdt = table(&page, u64_at(&page, 24), b"XSDT");
        let fadt = table(&page, u64_at(xsdt, HEADER), b"FACP");
        table(&page, u64_at(fadt, 140), b"DSDT");
        assert_eq!(u64::from(u32_at(fadt, 40)), u64_at(fadt, 140));
        let madt = table(&page, u64_at(xsdt, HEADER + 8), b"APIC");
        assert_eq!(
            &madt[HEADER + 8..],
            [0, 8, 0, 0, 1, 0, 0, 0, 0, 8, 1, 2, 1, 0, 0, 0, 0, 8, 2, 4, 1, 0, 0, 0]
        );
    }

    #[test]
    fn the_tables_do_not_overlap_and_fit_in_a_page() {
        const { assert!(RSDP + RSDP_SIZE <= XSDT && XSDT + XSDT_SIZE <= DSDT) };
        const { assert!(DSDT + HEADER <= FADT && FADT + FADT_SIZE <= MADT) };
        let most = crate::config::MAX_VCPUS;
        assert!(tables(ADDRESS, most, most).len() <= PAGE_SIZE);
    }
}
