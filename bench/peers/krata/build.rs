// SPDX-License-Identifier: GPL-2.0-or-later
//! Builds the guest `noop.S`.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=noop.S");
    println!("cargo::rerun-if-changed=noop.ld");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let built = Command::new("cc")
        .args(["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-T,noop.ld"])
        .args(["-o", &format!("{out}/noop"), "noop.S"])
        .status()
        .expect("cc can be run");
    assert!(built.success(), "cc cannot build the guest");
}
