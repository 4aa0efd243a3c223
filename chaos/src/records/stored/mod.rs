// SPDX-License-Identifier: GPL-3.0-or-later
//! The bytes of a record's file: one byte for the version, then the record in the format of that
//! version.
//!
//! Guests outlive the chaos that created them, so the previous version can always be read. To
//! change the format:
//!
//! 1. Add a module with types of its own and the next version, and encode with it.
//! 2. Keep the module of the previous version, which then only decodes.
//! 3. Add golden files for the new version, and keep those of the previous one.

mod config;
mod devices;
mod error;
mod v8;
mod v9;

use daemon::encoding::DecodeError;

use super::record::Record;

pub(super) use config::LIMIT;
pub use error::StoredError;

/// The version that is written.
pub(super) const VERSION: u8 = v9::VERSION;

/// Encodes a record. Returns `None` if it is longer than [`LIMIT`].
pub(super) fn encode(record: &Record) -> Option<Vec<u8>> {
    v9::encode(record)
}

/// Decodes a record of this version or the previous one. The guest's config passes the same checks
/// as one that arrives over chaosd's socket.
///
/// # Errors
/// The bytes have another version, are incomplete, or describe a guest that is not allowed.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, StoredError> {
    match bytes.first() {
        Some(&v9::VERSION) => v9::decode(bytes),
        Some(&v8::VERSION) => v8::decode(bytes),
        Some(&found) => Err(StoredError::Version { found, newest: VERSION }),
        None => Err(StoredError::Bytes(DecodeError::Malformed)),
    }
}

#[cfg(test)]
mod tests;
