// SPDX-License-Identifier: GPL-3.0-or-later
//! Which domain is being served, so that a panic can be attributed to it: the guest that sends, or
//! the one that receives while its ring is used.
//!
//! The panic hook runs on the thread of the panic, which is the one that serves.

use std::cell::Cell;

thread_local! {
    /// The domain's handle; zeros while no domain is served.
    static HANDLE: Cell<[u8; 16]> = const { Cell::new([0; 16]) };
}

/// Notes that the domain with this handle is served from now on.
pub fn begin(handle: [u8; 16]) {
    HANDLE.set(handle);
}

/// Notes that no domain is served.
pub fn end() {
    begin([0; 16]);
}

/// Notes that the domain is served again that [`handle`] has returned before.
pub fn resume(handle: Option<[u8; 16]>) {
    begin(handle.unwrap_or_default());
}

/// Returns the handle of the domain that is being served.
#[must_use]
pub fn handle() -> Option<[u8; 16]> {
    let handle = HANDLE.get();
    (handle != [0; 16]).then_some(handle)
}
