// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies to and from memory that another domain may access, each byte exactly once.
//!
//! `unsafe`: everything here works on raw addresses; `mapping` has checked their bounds.
#![allow(unsafe_code)]

use std::arch::asm;

/// Bytes that four SSE registers hold: they are copied without a branch.
const BLOCK: usize = 64;

/// The alignment in bytes that `movaps` needs.
const ALIGNMENT: usize = 16;

const WORD: usize = size_of::<u64>();

/// Writes bytes.
///
/// # Safety
/// `bytes.len()` bytes at `to` are mapped and writable, and no Rust reference to them exists.
#[inline]
pub(crate) unsafe fn write(to: *mut u8, bytes: &[u8]) {
    let (head, aligned) = bytes.split_at(to.align_offset(ALIGNMENT).min(bytes.len()));
    let (blocks, rest) = aligned.as_chunks::<BLOCK>();
    let body = to.wrapping_add(head.len());
    let tail = body.wrapping_add(blocks.len() * BLOCK);
    // SAFETY: head, blocks and rest together are `bytes`, so all targets are writable by this
    // function's contract. Unless nothing follows it, the head ends at a multiple of `ALIGNMENT`; a
    // block is a multiple of it, too, so all blocks and the rest are aligned.
    unsafe {
        write_bytes(to, head);
        for (index, block) in blocks.iter().enumerate() {
            write_block(body.wrapping_add(index * BLOCK), block);
        }
        write_rest(tail, rest);
    }
}

/// Reads bytes. Those that the other domain changes meanwhile may be old or new, each on its own.
///
/// # Safety
/// `bytes.len()` bytes at `from` are mapped, and no Rust reference to them exists.
#[inline]
pub(crate) unsafe fn read(from: *mut u8, bytes: &mut [u8]) {
    let (head, aligned) = bytes.split_at_mut(from.align_offset(ALIGNMENT).min(bytes.len()));
    let (blocks, rest) = aligned.as_chunks_mut::<BLOCK>();
    let body = from.wrapping_add(head.len());
    let tail = body.wrapping_add(blocks.len() * BLOCK);
    // SAFETY: head, blocks and rest together are `bytes`, so all sources are mapped by this
    // function's contract. Unless nothing follows it, the head ends at a multiple of `ALIGNMENT`; a
    // block is a multiple of it, too, so all blocks and the rest are aligned.
    unsafe {
        read_bytes(from, head);
        for (index, block) in blocks.iter_mut().enumerate() {
            read_block(body.wrapping_add(index * BLOCK), block);
        }
        read_rest(tail, rest);
    }
}

/// Clears `count` bytes.
///
/// # Safety
/// `count` bytes at `to` are mapped and writable, and no Rust reference to them exists.
#[inline]
pub(crate) unsafe fn clear(to: *mut u8, count: usize) {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    let head = to.align_offset(ALIGNMENT).min(count);
    let blocks = (count - head) / BLOCK;
    let rest = count - head - blocks * BLOCK;
    let body = to.wrapping_add(head);
    // SAFETY: head, blocks and rest together are `count` bytes, so all targets are writable by this
    // function's contract; head and rest are each shorter than `ZEROS`. Unless nothing follows it,
    // the head ends at a multiple of `ALIGNMENT`; a block is a multiple of it, too, so all blocks
    // and the rest are aligned.
    unsafe {
        write_bytes(to, &ZEROS[..head]);
        clear_blocks(body, blocks);
        write_rest(body.wrapping_add(blocks * BLOCK), &ZEROS[..rest]);
    }
}

/// Writes a block.
///
/// Copying is most of the work of a create. Under QEMU, which counts instructions
/// (`scripts/nested --icount`, the clock of `scripts/bench`), this loop takes 0.19 instructions per
/// byte. The C library's `memcpy` takes about one, because it uses `rep movsb`, which QEMU counts
/// once per byte. On hardware the two have not been compared, and `rep movsb` may be as fast. There
/// the loop remains for its second property: like a volatile access, and unlike `memcpy`, it writes
/// each byte exactly once.
///
/// # Safety
/// The block at `to` is mapped and writable, and `to` is a multiple of [`ALIGNMENT`].
unsafe fn write_block(to: *mut u8, bytes: &[u8; BLOCK]) {
    // SAFETY: the loads read the array and nothing else. The stores write the block at `to`, which
    // is writable, and aligned as `movaps` needs it, by this function's contract. The four
    // registers that change are declared; the flags, and the stack, do not change.
    unsafe {
        asm!(
            "movups {a}, [{from}]",
            "movups {b}, [{from} + 16]",
            "movups {c}, [{from} + 32]",
            "movups {d}, [{from} + 48]",
            "movaps [{to}], {a}",
            "movaps [{to} + 16], {b}",
            "movaps [{to} + 32], {c}",
            "movaps [{to} + 48], {d}",
            from = in(reg) bytes.as_ptr(),
            to = in(reg) to,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// Reads a block, as [`write_block`] writes one.
///
/// # Safety
/// The block at `from` is mapped, and `from` is a multiple of [`ALIGNMENT`].
unsafe fn read_block(from: *mut u8, bytes: &mut [u8; BLOCK]) {
    // SAFETY: the loads read the block at `from`, which is mapped, and aligned as `movaps` needs it, by
    // this function's contract. The stores write the array and nothing else. Every bit pattern is a
    // valid byte. The four registers that change are declared; the flags, and the stack, do not change.
    unsafe {
        asm!(
            "movaps {a}, [{from}]",
            "movaps {b}, [{from} + 16]",
            "movaps {c}, [{from} + 32]",
            "movaps {d}, [{from} + 48]",
            "movups [{to}], {a}",
            "movups [{to} + 16], {b}",
            "movups [{to} + 32], {c}",
            "movups [{to} + 48], {d}",
            from = in(reg) from,
            to = in(reg) bytes.as_mut_ptr(),
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// Clears `count` blocks.
///
/// # Safety
/// `count` blocks at `to` are mapped and writable, and `to` is a multiple of [`ALIGNMENT`].
unsafe fn clear_blocks(to: *mut u8, count: usize) {
    for index in 0..count {
        // SAFETY: the stores write the block with this index, which is below `count`, so it is
        // writable by this function's contract. It is aligned as `movaps` needs it, because `to`
        // and the size of a block are multiples of `ALIGNMENT`. The one register that changes is
        // declared; the flags, and the stack, do not change.
        unsafe {
            asm!(
                "xorps {zero}, {zero}",
                "movaps [{to}], {zero}",
                "movaps [{to} + 16], {zero}",
                "movaps [{to} + 32], {zero}",
                "movaps [{to} + 48], {zero}",
                to = in(reg) to.wrapping_add(index * BLOCK),
                zero = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Writes fewer bytes than a block: first words, then single bytes.
///
/// # Safety
/// `bytes.len()` bytes at `to` are mapped and writable, and `to` is a multiple of [`WORD`] if they
/// are at least a word.
unsafe fn write_rest(to: *mut u8, bytes: &[u8]) {
    let (words, rest) = bytes.as_chunks::<WORD>();
    // SAFETY: words and rest together are `bytes`, so all targets are writable by this function's
    // contract; if there are words, `to` is a multiple of their size, so each is aligned.
    unsafe {
        for (index, word) in words.iter().enumerate() {
            to.cast::<u64>().wrapping_add(index).write_volatile(u64::from_ne_bytes(*word));
        }
        write_bytes(to.wrapping_add(words.len() * WORD), rest);
    }
}

/// Writes single bytes.
///
/// # Safety
/// `bytes.len()` bytes at `to` are mapped and writable.
unsafe fn write_bytes(to: *mut u8, bytes: &[u8]) {
    for (index, byte) in bytes.iter().enumerate() {
        // SAFETY: `index` is below `bytes.len()`, so the byte is writable by this function's
        // contract; a byte is always aligned.
        unsafe { to.wrapping_add(index).write_volatile(*byte) };
    }
}

/// Reads fewer bytes than a block: first words, then single bytes.
///
/// # Safety
/// `bytes.len()` bytes at `from` are mapped, and `from` is a multiple of [`WORD`] if they are at least a
/// word.
unsafe fn read_rest(from: *const u8, bytes: &mut [u8]) {
    let (words, rest) = bytes.as_chunks_mut::<WORD>();
    let tail = from.wrapping_add(words.len() * WORD);
    // SAFETY: words and rest together are `bytes`, so all sources are mapped by this function's
    // contract; if there are words, `from` is a multiple of their size, so each is aligned. Every bit
    // pattern is a valid byte.
    unsafe {
        for (index, word) in words.iter_mut().enumerate() {
            *word = from.cast::<u64>().wrapping_add(index).read_volatile().to_ne_bytes();
        }
        read_bytes(tail, rest);
    }
}

/// Reads single bytes.
///
/// # Safety
/// `bytes.len()` bytes at `from` are mapped.
unsafe fn read_bytes(from: *const u8, bytes: &mut [u8]) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        // SAFETY: `index` is below `bytes.len()`, so the byte is mapped by this function's
        // contract; a byte is always aligned.
        *byte = unsafe { from.wrapping_add(index).read_volatile() };
    }
}
