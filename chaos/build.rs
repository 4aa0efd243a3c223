//! Lays out the program `chaos` in the order in which a create runs its code (`link/README.md`).
//!
//! Only the static release build is laid out: `link/order.ld` names object files of the static C
//! library. Next to that program the linker writes its map, `chaos.map`: `scripts/test` checks with
//! it that the order still fits, and `scripts/order` derives a new order from it.

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
    // RELRO takes a system call and splits a mapping at each start: 0.11 ms of 3.8 for a create
    // (docs/performance.md). The command runs for milliseconds and serves no requests; the daemons
    // have full RELRO.
    println!("cargo::rustc-link-arg-bin=chaos=-Wl,-z,norelro");
    // OUT_DIR is TARGET/release/build/chaos-HASH/out.
    if let Some(programs) = PathBuf::from(variable("OUT_DIR")).ancestors().nth(3) {
        let map = programs.join("chaos.map");
        println!("cargo::rustc-link-arg-bin=chaos=-Wl,-Map,{}", map.display());
    }
}

/// Returns a variable that cargo sets for every build script.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("cargo sets {name}: {error}"))
}
