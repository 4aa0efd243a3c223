// SPDX-License-Identifier: GPL-3.0-or-later
//! The ACPI tables of a guest in XenStore mode.
//!
//! Linux finds its CPUs in the table MADT, and starts no timer without it. The other tables are
//! those that Linux needs to reach the MADT, from `rsdp_paddr` in the boot page on. The DSDT has an object
//! for each vCPU that is offline at first: Linux learns its APIC id from there, and starts it when XenStore
//! says so (`cpu/N/availability`); of a CPU that is only disabled in the MADT, Linux 6.1 keeps no id.
//!
//! Source: the ACPI specification 6.4, chapter 5.2, and 20.2 for the objects.

use std::ops::Range;

use noxs::PAGE_SIZE;

use super::page::Page;

/// Bytes of the header of each table except the RSDP.
const HEADER: usize = 36;

/// Offsets of the tables in their page.
const RSDP: usize = 0;
const XSDT: usize = 0x40;
const FADT: usize = 0x80;
const MADT: usize = 0x1a0;

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
    let dsdt = (MADT + madt_size).next_multiple_of(8);
    debug_assert!(dsdt + HEADER <= PAGE_SIZE, "{vcpus} vCPUs");
    let objects = objects(online..vcpus, PAGE_SIZE.saturating_sub(dsdt + HEADER));
    let mut page = Page::new(dsdt + HEADER + objects.len());
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

    page.put(dsdt + HEADER, &objects);
    page.header(dsdt, HEADER + objects.len(), *b"DSDT", 2);

    // A table above 4 GiB has its address only in the 64-bit field, and 0 in this one.
    page.u32(FADT + 40, u32::try_from(at(dsdt)).unwrap_or(0));
    page.put(FADT + 109, &BOOT_FLAGS.to_le_bytes());
    page.u32(FADT + 112, HARDWARE_REDUCED);
    page.u64(FADT + 140, at(dsdt));
    page.header(FADT, FADT_SIZE, *b"FACP", 6);

    page.u32(MADT + HEADER, LAPIC_ADDRESS);
    for (number, lapic) in (0..vcpus).zip((MADT + HEADER + 8..).step_by(LAPIC_SIZE)) {
        page.put(lapic, &local_apic(number, number < online));
    }
    page.header(MADT, madt_size, *b"APIC", 4);
    page.into_bytes()
}

/// Returns the entry of a vCPU in the MADT.
fn local_apic(number: u32, is_enabled: bool) -> [u8; LAPIC_SIZE] {
    // In Xen, vCPU n has the local APIC id 2n (`vlapic.c`).
    let [id, ..] = number.to_le_bytes();
    let [apic_id, ..] = (2 * number).to_le_bytes();
    [0, 8, id, apic_id, u8::from(is_enabled), 0, 0, 0]
}

/// Returns the content of the DSDT: an object in `\_SB` for each vCPU, as far as they fit into so many
/// bytes. A guest that has more vCPUs offline cannot use the last ones.
fn objects(vcpus: Range<u32>, room: usize) -> Vec<u8> {
    if vcpus.is_empty() {
        return Vec::new();
    }
    // Scope (\_SB), behind the code of the scope and its length.
    let (mut body, most) = (b"\\_SB_".to_vec(), room.saturating_sub(3));
    for object in vcpus.map(processor) {
        if body.len() + object.len() <= most {
            body.extend(object);
        }
    }
    [&[SCOPE], &package(body.len())[..], &body].concat()
}

const SCOPE: u8 = 0x10;
const NAME: u8 = 0x08;
const BYTE: u8 = 0x0a;
const BUFFER: u8 = 0x11;
const PROCESSOR: [u8; 2] = [0x5b, 0x83];

/// What `_STA` returns for a device that works (6.3.7).
const PRESENT: u8 = 0x0f;

/// Returns the length of a package with so many bytes behind the length, in the form of two bytes, which are
/// a part of it (20.2.4).
fn package(behind: usize) -> [u8; 2] {
    let length = behind + 2;
    let [low, ..] = (length & 0xf).to_le_bytes();
    let [high, ..] = (length >> 4).to_le_bytes();
    [0x40 | low, high]
}

/// Returns the object of a vCPU, which says that it exists, and its entry in the MADT as that would be if the
/// vCPU were online.
fn processor(number: u32) -> Vec<u8> {
    let [id, ..] = number.to_le_bytes();
    let entry = local_apic(number, true);
    let [length, ..] = LAPIC_SIZE.to_le_bytes();
    let buffer = [&[BYTE, length][..], &entry].concat();
    let content = [
        format!("P{id:03}").as_bytes(),
        // No register block of ACPI.
        &[id, 0, 0, 0, 0, 0],
        &[NAME],
        b"_STA",
        &[BYTE, PRESENT, NAME],
        b"_MAT",
        &[BUFFER],
        &package(buffer.len()),
        &buffer,
    ]
    .concat();
    [&PROCESSOR[..], &package(content.len()), &content].concat()
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

    /// Returns the content of the DSDT.
    fn dsdt(vcpus: u32, online: u32) -> Vec<u8> {
        let page = tables(ADDRESS, vcpus, online);
        let xsdt = table(&page, u64_at(&page, 24), b"XSDT");
        let fadt = table(&page, u64_at(xsdt, HEADER), b"FACP");
        table(&page, u64_at(fadt, 140), b"DSDT")[HEADER..].to_vec()
    }

    #[test]
    fn a_vcpu_that_is_offline_at_first_is_an_object() {
        assert!(dsdt(2, 2).is_empty());
        // As iasl writes it, but for the form of the lengths:
        // Scope (\_SB) { Processor (P001, 1, 0, 0) { Name (_STA, 0xf) Name (_MAT, Buffer { ... }) } }
        let processor =
            b"\x5b\x83\x45\x02P001\x01\0\0\0\0\0\x08_STA\x0a\x0f\x08_MAT\x11\x4c\x00\x0a\x08\
                          \0\x08\x01\x02\x01\0\0\0";
        let scope = [&b"\x10\x4e\x02\\_SB_"[..], processor].concat();
        assert_eq!(dsdt(2, 1), scope);
        assert_eq!(dsdt(4, 1).len(), scope.len() + 2 * processor.len());
    }

    #[test]
    fn the_tables_do_not_overlap_and_fit_in_a_page() {
        const { assert!(RSDP + RSDP_SIZE <= XSDT && XSDT + XSDT_SIZE <= FADT) };
        const { assert!(FADT + FADT_SIZE <= MADT) };
        let most = crate::config::MAX_VCPUS;
        for online in [1, most / 2, most] {
            assert!(tables(ADDRESS, most, online).len() <= PAGE_SIZE, "{online}");
        }
        // So many are objects.
        let of_one = processor(1).len();
        assert_eq!((dsdt(most, 1).len() - 8) / of_one, 65);
        assert_eq!((dsdt(64, 1).len() - 8) / of_one, 63);
    }
}
