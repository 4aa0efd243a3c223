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
    static image_start: u8;
    static rodata_start: u8;
    static data_start: u8;
    static hypercall_page: u8;
    static stack_guard: u8;
    static mut page_directory_pointers: [u64; ENTRIES];
    static mut page_directory: [u64; ENTRIES];
    static mut first_page_table: [u64; ENTRIES];
}

/// What the first 2 MiB hold, as numbers of pages.
struct Image {
    code: usize,
    constants: usize,
    data: usize,
    hypercalls: usize,
    guard: usize,
}

/// The entry for page `page` of the first 2 MiB.
fn first_entry(page: usize, image: &Image) -> u64 {
    let flags = if page == 0 || page == image.guard {
        return 0;
    } else if (image.code..image.constants).contains(&page) || page == image.hypercalls {
        PRESENT
    } else if (image.constants..image.data).contains(&page) {
        PRESENT | NO_EXECUTE
    } else {
        DATA
    };
    (page as u64 * PAGE_SIZE_U64) | flags
}

/// Maps all memory below `memory_end` (at most 4 GiB) for good, in place of what boot.s made.
pub(crate) fn protect(memory_end: u64) {
    let page = |mark: *const u8| mark.addr() / PAGE_SIZE;
    let image = Image {
        code: page(&raw const image_start),
        constants: page(&raw const rodata_start),
        data: page(&raw const data_start),
        hypercalls: page(&raw const hypercall_page),
        guard: page(&raw const stack_guard),
    };
    let pointers = &raw mut page_directory_pointers;
    let (directory, table) = (&raw mut page_directory, &raw mut first_page_table);
    // SAFETY: the tables are 512 entries of boot.s's own memory, which nothing else in Rust
    // refers to. Each entry written maps its own address: code stays executable, the stack and all
    // data stay writable. Nothing uses page 0, the guard page, or writes to code or constants, so
    // no access that was right becomes wrong when %cr3 is loaded again.
    unsafe {
        for number in 0..ENTRIES {
            table.cast::<u64>().add(number).write_volatile(first_entry(number, &image));
        }
        let large_pages = to_usize(memory_end.min(DIRECTORY).div_ceil(LARGE_PAGE));
        for number in 1..large_pages {
            let entry = (number as u64 * LARGE_PAGE) | LARGE | DATA;
            directory.cast::<u64>().add(number).write_volatile(entry);
        }
        for number in 1..to_usize(memory_end.min(MAPPED).div_ceil(DIRECTORY)) {
            let entry = (number as u64 * DIRECTORY) | LARGE | DATA;
            pointers.cast::<u64>().add(number).write_volatile(entry);
        }
        directory.cast::<u64>().write_volatile(table.addr() as u64 | PRESENT | WRITABLE);
        asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack, preserves_flags));
    }
}
