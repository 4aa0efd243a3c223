// SPDX-License-Identifier: GPL-3.0-or-later
//! Version 9 of the record, which chaos reads and no longer writes. It differs from version 10 in that
//! it has no scripts of vifs.

use bincode::Decode;

use super::error::StoredError;
use super::v10;
use crate::config::PlainScript;
use crate::records::record::Record;

/// First byte of a record of this version.
pub(super) const VERSION: u8 = 9;

/// No bytes, in place of the scripts.
#[derive(Decode)]
struct NoScripts;

impl From<NoScripts> for Vec<PlainScript> {
    fn from(NoScripts: NoScripts) -> Self {
        Self::new()
    }
}

/// Decodes a record of this version.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, StoredError> {
    v10::decode_with::<NoScripts>(VERSION, bytes)
}
