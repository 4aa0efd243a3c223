//! `exits [WORD]`: a program that does nothing but end. What it takes, every program takes. Given a
//! word, it says that first.
//!
//! `unsafe`: it has no runtime that would do something, so the linker is told where it begins.
#![no_main]
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};

/// Ends.
///
/// # Safety
/// `args` holds `count` pointers to strings that end with a zero byte.
// SAFETY: no other `main` is linked in: the crate is `no_main`.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(count: c_int, args: *const *const c_char) -> c_int {
    if count < 2 {
        return 0;
    }
    // SAFETY: there are two pointers, each to a string (C, 5.1.2.2.1), and they stay.
    let word = unsafe { CStr::from_ptr(*args.add(1)) };
    match nix::unistd::write(std::io::stdout(), word.to_bytes()) {
        Ok(written) if written == word.to_bytes().len() => 0,
        _ => 1,
    }
}
