// SPDX-License-Identifier: GPL-3.0-or-later
//! Functions that replace parts of the C library's start.
//!
//! A static program prepares, before `main`, to load shared libraries: it looks for its own path,
//! builds the list of folders with libraries, and reads the vDSO's symbols. `chaos` loads none, and
//! this takes 0.1 ms of each create (`docs/performance.md`). In the static release
//! build the linker passes the calls to these functions instead (`--wrap` in `build.rs`). In other
//! builds nothing calls them. `order check`, which `scripts/test` runs, fails if the program contains
//! functions that load libraries, such as `getaddrinfo`.
//!
//! Each does what the original does if it fails, which its caller allows for. The originals are in
//! glibc (`csu/libc-start.c`, `elf/dl-support.c`, `elf/setup-vdso.h`) and in libgcc
//! (`unwind-dw2-fde.c`).

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::atomic::AtomicUsize;

// SAFETY of all `no_mangle`: the symbol must be unique in the program, and its type must be what
// its callers expect. No other code defines a symbol `__wrap_*`. The functions ignore their
// arguments, which the calling convention allows, and return a value of the original's type.

/// A `struct r_debug` of `link.h`, which is smaller, that no debugger finds.
static NO_DEBUGGER: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];

/// Replaces the list of loaded libraries for debuggers. The start of a position-independent program
/// writes to the result; that of others ignores it.
#[unsafe(no_mangle)]
extern "C" fn __wrap__dl_debug_initialize() -> *mut c_void {
    NO_DEBUGGER.as_ptr().cast_mut().cast()
}

/// Replaces the search for the folder of the program, which only `$ORIGIN` in paths of libraries
/// needs. Returns -1: the folder is unknown.
#[unsafe(no_mangle)]
extern "C" fn __wrap__dl_get_origin() -> *const c_char {
    ptr::without_provenance(usize::MAX)
}

/// Replaces the list of folders in which libraries are looked for.
#[unsafe(no_mangle)]
extern "C" fn __wrap__dl_init_paths() {}

/// Replaces the entry of the vDSO in the list of libraries. Returns null: there is no memory. Then
/// `clock_gettime` is a system call, as it is in a dom0 without a stable time stamp counter anyway.
#[unsafe(no_mangle)]
extern "C" fn __wrap__dl_new_object() -> *mut c_void {
    ptr::null_mut()
}

/// Replaces the registration of the unwinding tables. The unwinder finds them through the program
/// header `PT_GNU_EH_FRAME`.
#[unsafe(no_mangle)]
extern "C" fn __wrap___register_frame_info() {}

/// Replaces the end of that registration. Returns null, which nothing uses.
#[unsafe(no_mangle)]
extern "C" fn __wrap___deregister_frame_info() -> *mut c_void {
    ptr::null_mut()
}
