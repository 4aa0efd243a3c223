// SPDX-License-Identifier: MIT OR Apache-2.0
//! Provides `memcpy` and related functions. Compiled code calls them, and a guest has no C library.
//!
//! `unsafe`: the functions are assembly (`memory.s`) and take raw pointers.
#![allow(unsafe_code)]

use core::arch::global_asm;

global_asm!(include_str!("memory.s"), options(att_syntax));

// On the host the C library has these names, so the tests use the names of `memory.s`.
#[cfg(not(test))]
global_asm!(
    ".global memcpy, memmove, memset, memcmp, bcmp",
    ".set memcpy, guest_memcpy",
    ".set memmove, guest_memmove",
    ".set memset, guest_memset",
    ".set memcmp, guest_memcmp",
    ".set bcmp, guest_memcmp",
);

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    unsafe extern "sysv64" {
        fn guest_memmove(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
        fn guest_memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8;
        fn guest_memset(to: *mut u8, byte: i32, bytes: usize) -> *mut u8;
        fn guest_memcmp(left: *const u8, right: *const u8, bytes: usize) -> i32;
    }

    fn pattern(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i * 7 + i / 256).to_le_bytes()[0]).collect()
    }

    #[test]
    fn overlapping_moves_work_in_both_directions() {
        for bytes in (0..200).chain([1500, 4096]) {
            for (from, to) in [(0, 0), (0, 1), (0, 33), (0, 64), (5, 0), (70, 3), (0, 250)] {
                let mut memory = pattern(bytes + 300);
                let mut expected = memory.clone();
                expected.copy_within(from..from + bytes, to);
                // SAFETY: both ranges must be valid; they lie in `memory`, whose length is `bytes`
                // + 300, because both offsets are below 300.
                let result = unsafe {
                    let start = memory.as_mut_ptr();
                    guest_memmove(start.add(to), start.add(from), bytes) == start.add(to)
                };
                assert!(result && memory == expected, "{bytes} bytes from {from} to {to}");
            }
        }
    }

    #[test]
    fn copies_and_fills_write_their_range_and_nothing_else() {
        for bytes in (0..300).chain([1500, 4096, 4097]) {
            let from = pattern(bytes);
            let mut to = std::vec![0xee; bytes + 32];
            // SAFETY: both ranges must be valid and not overlap; `from` has `bytes` bytes, and
            // `to`, a vector of its own, has them from offset 16 on.
            unsafe { guest_memcpy(to.as_mut_ptr().add(16), from.as_ptr(), bytes) };
            assert_eq!(to[16..16 + bytes], from[..]);
            assert!(to[..16].iter().chain(&to[16 + bytes..]).all(|byte| *byte == 0xee));
            // SAFETY: the range must be valid; `to` has `bytes` bytes from offset 16 on.
            unsafe { guest_memset(to.as_mut_ptr().add(16), 0x1a5, bytes) };
            assert!(to[16..16 + bytes].iter().all(|byte| *byte == 0xa5), "{bytes}");
            assert!(to[..16].iter().chain(&to[16 + bytes..]).all(|byte| *byte == 0xee));
        }
    }

    #[test]
    fn comparisons_have_the_sign_of_the_first_difference() {
        for bytes in 0..40 {
            let left = pattern(bytes);
            for at in 0..bytes {
                let mut right = left.clone();
                right[at] = left[at].wrapping_add(1);
                // SAFETY: both ranges must be valid; both vectors have `bytes` bytes.
                let sign = unsafe { guest_memcmp(left.as_ptr(), right.as_ptr(), bytes) };
                assert_eq!(sign.signum(), left.cmp(&right) as i32);
            }
            // SAFETY: both ranges must be valid; `left` has `bytes` bytes.
            assert_eq!(unsafe { guest_memcmp(left.as_ptr(), left.as_ptr(), bytes) }, 0);
        }
    }
}
