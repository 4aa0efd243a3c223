//! The bytes of a record's file: one byte for the version, then what that version has.
//!
//! Guests outlive the chaos that created them, so the previous version is always read. Whoever
//! changes what is written:
//!
//! 1. adds a module with types of its own and the next version, and encodes with that;
//! 2. keeps the module of the version before, which then only decodes;
//! 3. adds golden files for the new version, and keeps those of the one before.

mod config;
mod v3;
mod v4;

use noxs_control::encoding::DecodeError;

use self::config::StoredConfig;
use super::{Record, StoredError};
use crate::config::DomainConfig;

/// The version that is written.
pub(super) const VERSION: u8 = v4::VERSION;

/// Longest record in bytes: more than the longest config takes.
const LIMIT: usize = 32 * 1024;

/// Encodes a record. `None` if it is longer than any can be.
pub(super) fn encode(record: &Record) -> Option<Vec<u8>> {
    v4::encode(record)
}

/// Decodes a record of this version or the one before. What it says of the guest passes the same
/// checks as a config that arrives over chaosd's socket.
///
/// # Errors
/// The bytes are of another version, are cut short, or describe a guest that cannot be.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, StoredError> {
    match bytes.first() {
        Some(&v4::VERSION) => v4::decode(bytes),
        Some(&v3::VERSION) => v3::decode(bytes),
        Some(&found) => Err(StoredError::Version { found }),
        None => Err(StoredError::Bytes(DecodeError::Malformed)),
    }
}

fn config_of(stored: StoredConfig) -> Result<DomainConfig, StoredError> {
    DomainConfig::try_from(stored).map_err(StoredError::Config)
}

#[cfg(test)]
mod tests;
