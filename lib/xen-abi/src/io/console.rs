// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console's page: `public/io/console.h`. It holds a ring of bytes to the guest, one from it,
//! and their indices, which only grow and wrap at 2^32.

/// Bytes of the ring of input, from the backend to the guest.
pub const IN_SIZE: usize = 1024;
/// Bytes of the ring of output, from the guest to the backend.
pub const OUT_SIZE: usize = 2048;

/// Offsets in `struct xencons_interface`.
pub const IN: usize = 0;
pub const OUT: usize = IN + IN_SIZE;
pub const IN_CONS: usize = OUT + OUT_SIZE;
pub const IN_PROD: usize = IN_CONS + 4;
pub const OUT_CONS: usize = IN_PROD + 4;
pub const OUT_PROD: usize = OUT_CONS + 4;
