//! Tells the linker in which order the program's code is to be, and not to make parts of its data
//! read-only after the start: that takes a system call and splits a mapping, which each create
//! would pay for, and the program takes nothing from guests.

fn main() {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("order.ld");
    println!("cargo::rerun-if-changed={}", script.display());
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    println!("cargo::rustc-link-arg-bins=-Wl,-z,norelro");
}
