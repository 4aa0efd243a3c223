// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's page tables: memory is mapped one to one, no page is both writable and executable,
//! and page 0 and the page below the stack are not mapped.
//!
//! `unsafe`: it writes page tables and loads them.
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
    // Symbols of the linker script, and the tables of boot.s.
    static code_start: u8;
    static rodata_start: u8;
    static data_start: u8;
    static hypercall_page: u8;
    static stack_guard: u8;
    static mut page_directory_pointers: [u64; ENTRIES];
    static mut page_directory: [u64; ENTRIES];
    static mut first_page_table: [u64; ENTRIES];
}

/// Fills entries of the first page table: maps `pages` one to one.
///
/// # Safety
/// `flags` permit all later accesses to these pages.
unsafe fn map(pages: core::ops::Range<usize>, flags: u64) {
    let table = (&raw mut first_page_table).cast::<u64>();
    for page in pages.start..pages.end.min(ENTRIES) {
        // SAFETY: the entry must be writable without references to it, and the mapping must permit
        // all accesses. `page` is below `ENTRIES`, so the entry lies in the table, which is memory
        // of boot.s without Rust references. The accesses are permitted by this function's
        // contract.
        unsafe { table.add(page).write((page as u64 * PAGE_SIZE_U64) | flags) };
    }
}

/// Replaces the tables of boot.s by the final ones, which map all memory below `memory_end` (at
/// most 4 GiB).
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
    // SAFETY: the entries must be writable without references to them, and the tables must permit
    // all later accesses when %cr3 is loaded. The tables have 512 entries each and are memory of
    // boot.s without Rust references; all indices are below 512. boot.s has cleared the upper
    // tables, and all entries of the first page table are written here before the directory refers
    // to it. Each entry maps its own address: code stays executable; the stack and all data stay
    // writable. No code uses page 0 or the guard page, or writes to code or constants.
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
        // The assembly is not `nomem`, so the compiler writes all entries before it.
        asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack, preserves_flags));
    }
}
