// SPDX-License-Identifier: GPL-3.0-or-later
//! What is wrong with the bytes of a record.

use daemon::encoding::DecodeError;
use thiserror::Error;

use crate::config::EncodedError;

/// What is wrong with the bytes of a record.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoredError {
    /// It has a version that this chaos does not read.
    #[error("it has version {found}, this chaos reads {newest} and the version before")]
    Version {
        /// Its version.
        found: u8,
        /// The version that is written.
        newest: u8,
    },
    /// The bytes are not a record.
    #[error(transparent)]
    Bytes(DecodeError),
    /// The config in it is outside of the limits of this chaos.
    #[error(transparent)]
    Config(EncodedError),
}
