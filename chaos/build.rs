//! Tells the linker in which order the program's code is to be, and not to make parts of its data
//! read-only after the start (RELRO). That takes a system call and splits a mapping, at each start:
//! 0.11 ms of 3.8 for a create (docs/performance.md). The command may do without it, as it runs for
//! milliseconds and serves no requests; the daemons have full RELRO.

fn main() {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("order.ld");
    println!("cargo::rerun-if-changed={}", script.display());
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    println!("cargo::rustc-link-arg-bins=-Wl,-z,norelro");
}
