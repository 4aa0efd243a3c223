//! The guest's page tables: one to one, nothing both writable and executable, page 0 and the page
//! below the stack not mapped.
//!
//! `unsafe`, because it writes page tables and loads them.
#![allow(unsafe_code)]

use core::arch::asm;

use crate::layout::{DIRECTORY, LARGE_PAGE, MAPPED, PAGE_SIZE, PAGE_SIZE_U64, to_usize};

const ENTRIES: usize = 512;

/// Present, accessed and dirty.
const PRESENT: u64 = 0x61;
const WRITABLE: u64 = 2;
const LARGE: u64 = 0x80;
const NO_EXECUTE: u64 = 1 << 63;

/// A writable page of data.
const DATA: u64 = PRESENT | WRITABLE | NO_EXECUTE;

unsafe extern "C" {
    // The linker script's marks and the tables of boot.s.
    static code_start: u8;
    static rodata_start: u8;
    static data_start: u8;
    static hypercall_page: u8;
    static stack_guard: u8;
    static mut page_directory_pointers: [u64; ENTRIES];
    static mut page_directory: [u64; ENTRIES];
    static mut first_page_table: [u64; ENTRIES];
}

/// Fills `pages` of the first page table.
///
/// # Safety
/// Each page must be mapped so that what is there can still be used.
unsafe fn map(pages: core::ops::Range<usize>, flags: u64) {
    let table = (&raw mut first_page_table).cast::<u64>();
    for page in pages.start..pages.end.min(ENTRIES) {
        // SAFETY: the entry lies in the table, which is boot.s's own memory and nothing else in
        // Rust refers to. The caller vouches for what it maps.
        unsafe { table.add(page).write((page as u64 * PAGE_SIZE_U64) | flags) };
    }
}

/// Maps all memory below `memory_end` (at most 4 GiB) for good, in place of what boot.s made.
pub(crate) fn protect(memory_end: u64) {
    let page = |mark: *const u8| mark.addr() / PAGE_SIZE;
    let code = page(&raw const code_start);
    let constants = page(&raw const rodata_start);
    let data = page(&raw const data_start);
    let hypercalls = page(&raw const hypercall_page);
    let guard = page(&raw const stack_guard);
    let pointers = (&raw mut page_directory_pointers).cast::<u64>();
    let directory = (&raw mut page_directory).cast::<u64>();
    let table = (&raw const first_page_table).addr() as u64;
    // SAFETY: the tables are 512 entries each of boot.s's own memory, which nothing else in Rust
    // refers to. The upper ones begin with zeros, of the first page table every entry is written
    // here before the CPU is told of it. Each entry maps its own address: code stays executable, the
    // stack and all data stay writable. Nothing uses page 0, the guard page, or writes to code or
    // constants, so no access that was right becomes wrong when %cr3 is loaded again.
    unsafe {
        map(0..code, DATA);
        map(code..constants, PRESENT);
        map(constants..data, PRESENT | NO_EXECUTE);
        map(data..ENTRIES, DATA);
        map(hypercalls..hypercalls + 1, PRESENT);
        for unmapped in [0, guard] {
            (&raw mut first_page_table).cast::<u64>().add(unmapped).write(0);
        }
        let large_pages = to_usize(memory_end.min(DIRECTORY).div_ceil(LARGE_PAGE));
        for number in 1..large_pages {
            let entry = (number as u64 * LARGE_PAGE) | LARGE | DATA;
            directory.add(number).write(entry);
        }
        for number in 1..to_usize(memory_end.min(MAPPED).div_ceil(DIRECTORY)) {
            let entry = (number as u64 * DIRECTORY) | LARGE | DATA;
            pointers.add(number).write(entry);
        }
        directory.write(table | PRESENT | WRITABLE);
        // The assembly may touch memory, so all entries are written before it.
        asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack, preserves_flags));
    }
}
