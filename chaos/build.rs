// SPDX-License-Identifier: GPL-3.0-or-later
//! Makes the linker place the code of the program `chaos` in the order in which a create runs it
//! (`link/README.md`).
//!
//! This applies to the static release build only, because `link/order.ld` names object files of the
//! static C library. The linker also writes its map, `chaos.map`, beside the program.
//! `scripts/test` uses it to check that the order still fits, and `scripts/order` to derive a new
//! order.

use std::env;
use std::path::PathBuf;

fn main() {
    let script = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("link/order.ld");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", script.display());
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let is_static = features.split(',').any(|feature| feature == "crt-static");
    if !is_static || variable("PROFILE") != "release" {
        return;
    }
    println!("cargo::rustc-link-arg-bin=chaos=-Wl,-T,{}", script.display());
    // No RELRO: at each start it costs a system call and a split mapping, 0.11 of 3.8 ms for a
    // create (docs/performance.md). The command runs for milliseconds and serves no requests. The
    // daemons have full RELRO.
    println!("cargo::rustc-link-arg-bin=chaos=-Wl,-z,norelro");
    // Functions of the C library's start that src/start/replaced.rs replaces.
    for function in [
        "_dl_debug_initialize",
        "_dl_get_origin",
        "_dl_init_paths",
        "_dl_new_object",
        "__register_frame_info",
        "__deregister_frame_info",
    ] {
        println!("cargo::rustc-link-arg-bin=chaos=-Wl,--wrap={function}");
    }
    // OUT_DIR is TARGET/release/build/chaos-HASH/out.
    if let Some(programs) = PathBuf::from(variable("OUT_DIR")).ancestors().nth(3) {
        let map = programs.join("chaos.map");
        println!("cargo::rustc-link-arg-bin=chaos=-Wl,-Map,{}", map.display());
    }
}

/// Returns an environment variable that cargo sets for build scripts.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("cargo must set {name}: {error}"))
}
