//! Links `bare` without the C library's start.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bin=bare=-nostartfiles");
}
