// SPDX-License-Identifier: GPL-3.0-or-later
//! Version 8 of the record, which chaos reads and no longer writes. It differs from version 9 in that
//! it has neither a bootloader nor scripts of vifs.

use bincode::Decode;

use super::error::StoredError;
use super::v9::{self, Added};
use crate::records::record::Record;

/// First byte of a record of this version.
pub(super) const VERSION: u8 = 8;

/// No bytes, in place of what version 9 added.
#[derive(Decode)]
struct NothingAdded;

impl From<NothingAdded> for Added {
    fn from(NothingAdded: NothingAdded) -> Self {
        Self::default()
    }
}

/// Decodes a record of this version.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, StoredError> {
    v9::decode_with::<NothingAdded>(VERSION, bytes)
}
