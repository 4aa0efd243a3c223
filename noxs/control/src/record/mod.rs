// SPDX-License-Identifier: MIT OR Apache-2.0
//! The record of a domain's devices: the file [`RECORD_FILE`](crate::RECORD_FILE), from which a
//! restarted noxsd learns which rings exist.
//!
//! The first byte is the version, the rest is bincode. A record outlives the program that wrote it,
//! because an upgrade only restarts the daemons. So [`RECORD_VERSION`] is independent of the
//! messages' [`PROTOCOL`](crate::PROTOCOL), records have types of their own, and the previous
//! version can always be read.
//!
//! ```text
//! 4  v4.rs  read     a list of devices, each with its kind
//! 5  v5.rs  written  the same, with the IPv6 addresses of vifs
//! ```
//!
//! # Adding a device kind, or changing one
//! 1. Rename `v5.rs` to `v6.rs`, and add the variant or the field there. Keep in `v5.rs` the types
//!    that have changed, as `v4.rs` does: they read the same bytes as before, and become those of `v6`.
//! 2. Raise [`RECORD_VERSION`], encode with `v6`, decode both, and remove the decoder of the
//!    version before `v5`.
//! 3. Add a file to `tests/golden/`, and the line that reads it to `tests/golden.rs`. Do not change
//!    the files that exist.

mod v4;
mod v5;

use std::borrow::Cow;

use daemon::encoding;

use crate::{Attach, ConsoleDevice, DomainId, VbdDevice, VifDevice};

/// Version of the records that this program writes.
pub const RECORD_VERSION: u8 = 5;

/// Oldest version that this program reads.
pub const OLDEST_VERSION: u8 = 4;

/// Size of the longest record, in bytes.
pub const MAX_RECORD: usize = 64 * 1024;

/// The contents of a domain's record: its devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRecord<'a> {
    /// The domain.
    pub id: DomainId,
    /// The console, if the domain has one.
    pub console: Option<ConsoleDevice>,
    /// The network interfaces.
    pub vifs: Cow<'a, [VifDevice]>,
    /// The disks.
    pub vbds: Cow<'a, [VbdDevice]>,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A newer or a much older program wrote the record.
    #[error(
        "version {found}: must be {OLDEST_VERSION} to {RECORD_VERSION}; run the version that created \
         the guest, or destroy and create the guest"
    )]
    Version {
        /// The first byte.
        found: u8,
    },
    /// The record is empty, cut or damaged.
    #[error("the record is malformed")]
    Malformed,
}

impl DeviceRecord<'_> {
    /// Returns the record's bytes, in version [`RECORD_VERSION`]; `None` if they are more than
    /// [`MAX_RECORD`].
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        encoding::encode::<MAX_RECORD>(RECORD_VERSION, &v5::Writer(self))
    }
}

impl DeviceRecord<'static> {
    /// Decodes a record of any version from [`OLDEST_VERSION`] to [`RECORD_VERSION`]. The bytes
    /// must contain nothing else.
    ///
    /// # Errors
    /// The version is another one, or the bytes are not a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let record = match encoding::version(bytes) {
            Some(5) => encoding::decode::<v5::Record, MAX_RECORD>(5, bytes),
            Some(4) => encoding::decode::<v4::Record, MAX_RECORD>(4, bytes).map(v5::Record::from),
            Some(found) => return Err(RecordError::Version { found }),
            None => return Err(RecordError::Malformed),
        };
        let record = record.map_err(|_| RecordError::Malformed)?;
        Self::try_from(record).map_err(|_| RecordError::Malformed)
    }
}

impl<'a> From<&'a Attach> for DeviceRecord<'a> {
    fn from(attach: &'a Attach) -> Self {
        let Attach { id, console, vifs, vbds } = attach;
        let (vifs, vbds) = (Cow::Borrowed(&vifs[..]), Cow::Borrowed(&vbds[..]));
        Self { id: *id, console: *console, vifs, vbds }
    }
}

impl From<DeviceRecord<'_>> for Attach {
    fn from(record: DeviceRecord<'_>) -> Self {
        let DeviceRecord { id, console, vifs, vbds } = record;
        Self { id, console, vifs: vifs.into_owned(), vbds: vbds.into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_that_are_not_a_record_are_refused_with_the_reason() {
        let id = DomainId { domid: 3, handle: [7; 16] };
        let console = Some(ConsoleDevice { port: 1, ring: 8 });
        let record =
            DeviceRecord { id, console, vifs: Cow::Borrowed(&[]), vbds: Cow::Borrowed(&[]) };
        let mut bytes = record.encode().unwrap();
        assert_eq!(DeviceRecord::decode(&bytes), Ok(record));
        for length in 0..bytes.len() {
            let cut = DeviceRecord::decode(&bytes[..length]);
            assert_eq!(cut, Err(RecordError::Malformed), "cut to {length}");
        }
        bytes.push(0);
        assert_eq!(DeviceRecord::decode(&bytes), Err(RecordError::Malformed));
        for found in [0, 1, RECORD_VERSION + 1, 0xff] {
            bytes[0] = found;
            assert_eq!(DeviceRecord::decode(&bytes), Err(RecordError::Version { found }));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(
            version in OLDEST_VERSION..=RECORD_VERSION,
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = DeviceRecord::decode(&[&[version][..], &bytes].concat());
        }
    }
}
