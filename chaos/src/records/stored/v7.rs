// SPDX-License-Identifier: GPL-3.0-or-later
//! Version 7 of the record, which chaos reads and no longer writes. It differs from version 8 in that
//! it has no extras.

use bincode::Decode;

use super::error::StoredError;
use super::v8;
use crate::config::PlainExtras;
use crate::records::record::Record;

/// First byte of a record of this version.
pub(super) const VERSION: u8 = 7;

/// No bytes, in place of the extras.
#[derive(Decode)]
struct NoExtras;

impl From<NoExtras> for Option<Box<PlainExtras>> {
    fn from(NoExtras: NoExtras) -> Self {
        None
    }
}

/// Decodes a record of this version.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, StoredError> {
    v8::decode_with::<NoExtras>(VERSION, bytes)
}
