// SPDX-License-Identifier: GPL-3.0-or-later
//! `exits [WORD]`: a C program that only exits, after printing WORD if there is one. Its time is
//! the least that any program with a C library takes.
//!
//! `unsafe` exports `main`, because the program has no Rust runtime that would call it.
#![no_main]
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};

/// Prints the first argument, if there is one, and exits.
///
/// # Safety
/// `args` holds `count` pointers to strings that end with a zero byte.
// SAFETY: no other symbol has this name, because the crate is `no_main`.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(count: c_int, args: *const *const c_char) -> c_int {
    if count < 2 {
        return 0;
    }
    // SAFETY: `count` is at least 2, so `args[1]` is a valid pointer to a string that ends with a
    // zero byte (C, 5.1.2.2.1). The string is not changed and lives until the process exits.
    let word = unsafe { CStr::from_ptr(*args.add(1)) };
    match nix::unistd::write(std::io::stdout(), word.to_bytes()) {
        Ok(written) if written == word.to_bytes().len() => 0,
        _ => 1,
    }
}
