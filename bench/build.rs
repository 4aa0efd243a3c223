// SPDX-License-Identifier: GPL-3.0-or-later
//! Links the program `bare` without the C library's start-up files.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bin=bare=-nostartfiles");
}
