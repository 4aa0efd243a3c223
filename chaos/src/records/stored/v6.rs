// SPDX-License-Identifier: GPL-3.0-or-later
//! Version 6 of the record, which chaos reads and no longer writes. It differs from version 7 in its
//! vifs, which have neither IPv6 addresses nor names.

use super::config::StoredVifV6;
use super::error::StoredError;
use super::v7;
use crate::records::record::Record;

/// First byte of a record of this version.
pub(super) const VERSION: u8 = 6;

/// Decodes a record of this version.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, StoredError> {
    v7::decode_with::<StoredVifV6>(VERSION, bytes)
}
