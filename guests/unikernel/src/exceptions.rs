//! CPU exceptions: each is an error in the guest, is printed, and ends it.
//!
//! They run on a stack of their own (IST), because the guest's may be what broke, and because
//! compiled code keeps data below its stack pointer (red zone).
//!
//! `unsafe`, because it makes and loads the tables the CPU reads, and is entered by the CPU.
#![allow(unsafe_code)]

use core::arch::{asm, global_asm};
use core::mem::size_of;

/// Exceptions of the x86 architecture.
const VECTORS: usize = 32;

/// Vector of a page fault, after which CR2 holds the address.
const PAGE_FAULT: u64 = 14;

/// Bytes of each entry stub in the assembly below.
const STUB_SIZE: usize = 16;

/// Offset of the last byte of the table of gates.
const TABLE_LIMIT: u16 = 16 * 32 - 1;

const _: () = assert!(TABLE_LIMIT as usize == 16 * VECTORS - 1);

/// Size of the exception stack in bytes: enough to format and print a line.
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
    // The vectors for which the CPU pushes an error code; for the others a zero stands in.
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

/// What the stubs and the CPU push.
#[repr(C)]
struct Frame {
    vector: u64,
    error_code: u64,
    instruction: u64,
    code_segment: u64,
    flags: u64,
    stack: u64,
}

/// What `lidt` takes.
#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// An interrupt gate of the 64-bit code segment, on stack 1 of the task state.
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
    // SAFETY: the tables are this module's own and boot.s's, of the sizes declared, and nothing
    // else refers to them. Bytes 36 to 43 of the task state are IST 1. Descriptor 3 of the GDT is kept free for the
    // task state. The loads take tables that stay where they are.
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

/// Prints what happened and ends the domain.
extern "sysv64" fn handler(frame: &Frame) -> ! {
    let mut address = 0u64;
    if frame.vector == PAGE_FAULT {
        // SAFETY: reading CR2 in a page fault's handler has no side effect.
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
