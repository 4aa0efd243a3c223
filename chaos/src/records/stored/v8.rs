// SPDX-License-Identifier: GPL-3.0-or-later
//! Version 8 of the record, which chaos reads and no longer writes. It differs from version 9 in that
//! it has no bootloader.

use bincode::Decode;

use super::error::StoredError;
use super::v9;
use crate::config::PlainBootloader;
use crate::records::record::Record;

/// First byte of a record of this version.
pub(super) const VERSION: u8 = 8;

/// No bytes, in place of the bootloader.
#[derive(Decode)]
struct NoBootloader;

impl From<NoBootloader> for Option<Box<PlainBootloader>> {
    fn from(NoBootloader: NoBootloader) -> Self {
        None
    }
}

/// Decodes a record of this version.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, StoredError> {
    v9::decode_with::<NoBootloader>(VERSION, bytes)
}
