// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPU exceptions: each is a bug of the guest, is printed, and shuts the domain down.
//!
//! The handler has a stack of its own (IST), because the guest's stack may be the cause, and
//! because compiled code keeps data below its stack pointer (red zone).
//!
//! `unsafe`: it fills and loads tables that the CPU reads, and the CPU calls it.
#![allow(unsafe_code)]

use core::arch::{asm, global_asm};
use core::mem::size_of;

/// Number of exceptions of the x86 architecture.
const VECTORS: usize = 32;

/// The vector of a page fault, after which CR2 holds the address.
const PAGE_FAULT: u64 = 14;

/// The size of each entry stub in the assembly below, in bytes.
const STUB_SIZE: usize = 16;

/// The offset of the last byte of the table of gates.
const TABLE_LIMIT: u16 = 16 * 32 - 1;

const _: () = assert!(TABLE_LIMIT as usize == 16 * VECTORS - 1);

/// The size of the exception stack in bytes: enough to format and print a line.
const STACK_SIZE: usize = 8192;

global_asm!(
    ".section .uncleared.exceptions, \"aw\", @nobits",
    ".align 16",
    ".skip {stack_size}",
    ".global exception_stack_top",
    "exception_stack_top:",
    ".section .bss.exceptions, \"aw\", @nobits",
    ".align 16",
    ".global exception_table",
    "exception_table: .skip {vectors} * 16",
    ".global task_state",
    "task_state: .skip 104",
    ".section .text.exceptions, \"ax\", @progbits",
    ".align 16",
    ".global exception_stubs",
    "exception_stubs:",
    "vector = 0",
    ".rept {vectors}",
    ".align {stub_size}",
    // For vectors without an error code, push a zero in its place.
    ".if (0x60227d00 >> vector) & 1 == 0",
    "pushq $0",
    ".endif",
    "pushq $vector",
    "jmp 1f",
    "vector = vector + 1",
    ".endr",
    "1: movq %rsp, %rdi",
    "andq $-16, %rsp",
    "call {handler}",
    stack_size = const STACK_SIZE,
    vectors = const VECTORS,
    stub_size = const STUB_SIZE,
    handler = sym handler,
    options(att_syntax),
);

unsafe extern "C" {
    static exception_stubs: [u8; VECTORS * STUB_SIZE];
    static exception_stack_top: u8;
    static mut exception_table: [[u64; 2]; VECTORS];
    static mut task_state: [u32; 26];
    static mut gdt: [u64; 5];
}

/// The values that the stubs and the CPU push.
#[repr(C)]
struct Frame {
    vector: u64,
    error_code: u64,
    instruction: u64,
    code_segment: u64,
    flags: u64,
    stack: u64,
}

/// The operand of `lidt`.
#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Returns an interrupt gate of the 64-bit code segment, on stack 1 of the task state.
const fn gate(address: u64) -> [u64; 2] {
    const SELECTOR: u64 = 0x08 << 16;
    const IST_AND_TYPE: u64 = 0x8e01 << 32;
    [(address & 0xffff) | SELECTOR | IST_AND_TYPE | (address >> 16 & 0xffff) << 48, address >> 32]
}

/// Directs all exceptions to the handler.
pub(crate) fn install() {
    let stubs = (&raw const exception_stubs).addr() as u64;
    let stack = (&raw const exception_stack_top).addr() as u64;
    let task = (&raw mut task_state).cast::<u32>();
    let task_address = task.addr() as u64;
    let table = (&raw mut exception_table).cast::<[u64; 2]>();
    let descriptors = (&raw mut gdt).cast::<u64>();
    // Present, 64-bit available task state, limit 103; all addresses are below 4 GiB.
    let task_descriptor = 0x0000_8900_0000_0067
        | (task_address & 0x00ff_ffff) << 16
        | (task_address >> 24 & 0xff) << 56;
    // SAFETY: the tables must be writable without references to them, and valid as long as the CPU
    // uses them. They are statics of this module and of boot.s, with the declared sizes and without
    // Rust references, and are never moved or freed. Bytes 36 to 43 of the task state are IST 1,
    // and boot.s reserves descriptors 3 and 4 of the GDT for the task state.
    unsafe {
        for vector in 0..VECTORS {
            table.add(vector).write(gate(stubs + (vector * STUB_SIZE) as u64));
        }
        task.cast::<u8>().add(36).cast::<u64>().write_unaligned(stack);
        descriptors.add(3).write(task_descriptor);
        let pointer = TablePointer { limit: TABLE_LIMIT, base: table.addr() as u64 };
        asm!("lidt [{0}]", "ltr {1:x}", in(reg) &raw const pointer, in(reg) 0x18,
            options(nostack, preserves_flags));
    }
}

/// Prints the exception and shuts the domain down.
extern "sysv64" fn handler(frame: &Frame) -> ! {
    let mut address = 0u64;
    if frame.vector == PAGE_FAULT {
        // SAFETY: reading CR2 needs the highest privilege level, in which a guest runs, and has no
        // side effect.
        unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack)) };
    }
    panic!(
        "exception {} error {:#x} at {:#x} address {address:#x} stack {:#x} flags {:#x} cs {:#x}",
        frame.vector,
        frame.error_code,
        frame.instruction,
        frame.stack,
        frame.flags,
        frame.code_segment,
    )
}

const _: () = assert!(size_of::<TablePointer>() == 10);
