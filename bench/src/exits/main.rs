//! `exits`: a program that does nothing but end. What it takes, every program takes.
//!
//! `unsafe`: it has no runtime that would do something, so the linker is told where it begins.
#![no_main]
#![allow(unsafe_code)]

/// Ends.
// SAFETY: no other `main` is linked in: the crate is `no_main`.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    0
}
