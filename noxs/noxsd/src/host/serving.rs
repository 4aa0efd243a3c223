// SPDX-License-Identifier: GPL-3.0-or-later
//! Which domain is being served, so that a panic can be attributed to it.
//!
//! The panic hook runs wherever the panic happened, so this is a global value.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The two halves of the domain's handle; both are 0 while no domain is served. noxsd has one
/// thread, which also runs the hook, so the halves are always of one handle.
static HANDLE: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Notes that the domain with this handle is served from now on.
pub fn begin(handle: [u8; 16]) {
    let handle = u128::from_ne_bytes(handle);
    // Truncation takes the lower half.
    #[allow(clippy::cast_possible_truncation)]
    HANDLE[0].store(handle as u64, Relaxed);
    #[allow(clippy::cast_possible_truncation)]
    HANDLE[1].store((handle >> 64) as u64, Relaxed);
}

/// Notes that no domain is served.
pub fn end() {
    begin([0; 16]);
}

/// Returns the handle of the domain that is being served.
#[must_use]
pub fn handle() -> Option<[u8; 16]> {
    let [low, high] = [HANDLE[0].load(Relaxed), HANDLE[1].load(Relaxed)];
    let handle = u128::from(low) | u128::from(high) << 64;
    (handle != 0).then(|| handle.to_ne_bytes())
}
