//! The record of a domain's devices: the file [`RECORD_FILE`](crate::RECORD_FILE), from which a
//! restarted `noxsd` learns which rings exist.
//!
//! The first byte is the version, the rest is bincode. A record outlives the program that wrote it,
//! so [`RECORD_VERSION`] is apart from the messages' [`PROTOCOL`](crate::PROTOCOL), no type of a
//! message is encoded here, and the previous version is always read: an upgrade is a restart.
//!
//! ```text
//! 2  v2.rs  read     the message `Attach`, from when records had no version of their own
//! 3  v3.rs  written  a list of devices, each with its kind
//! ```
//!
//! # Adding a device kind, or changing one
//! 1. Copy `v3.rs` to `v4.rs`, and add the variant or the field there. What `v3.rs` reads does not
//!    change.
//! 2. Raise [`RECORD_VERSION`], encode with `v4`, decode both, and remove what is older than the
//!    previous version.
//! 3. Add a file to `tests/golden/`, and the line that reads it to `tests/golden.rs`. Files that
//!    are there stay as they are.

mod v2;
mod v3;

use std::borrow::Cow;

use daemon::encoding::{self, DecodeError};

use crate::{Attach, ConsoleDevice, DomainId, VifDevice};

/// Version of the records that this program writes.
pub const RECORD_VERSION: u8 = 3;

/// Oldest version that it reads.
pub const OLDEST_VERSION: u8 = 2;

/// Longest record in bytes.
pub const MAX_RECORD: usize = 64 * 1024;

/// The devices of a domain as its record has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRecord<'a> {
    /// Whose they are.
    pub id: DomainId,
    /// The console, if it has one.
    pub console: Option<ConsoleDevice>,
    /// The network interfaces.
    pub vifs: Cow<'a, [VifDevice]>,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A newer or a much older program wrote it.
    #[error(
        "it has version {found}, and this program reads {OLDEST_VERSION} to {RECORD_VERSION}; run \
         the version that created the guest, or destroy and create the guest"
    )]
    Version {
        /// The first byte.
        found: u8,
    },
    /// It is empty, cut or damaged.
    #[error("it is malformed")]
    Malformed,
}

impl DeviceRecord<'_> {
    /// Returns the record's bytes, in version [`RECORD_VERSION`]. They are empty, which no decoder
    /// takes, if they would be longer than [`MAX_RECORD`]: no guest has so many devices.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encoding::encode::<MAX_RECORD>(RECORD_VERSION, &v3::Writer(self)).unwrap_or_default()
    }
}

impl DeviceRecord<'static> {
    /// Decodes a record of any version from [`OLDEST_VERSION`] on; the bytes must contain nothing
    /// else.
    ///
    /// # Errors
    /// Another version, or bytes that are not a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let record = match encoding::version(bytes) {
            Some(2) => encoding::decode::<v2::Record, MAX_RECORD>(2, bytes).map(Self::from),
            Some(3) => encoding::decode::<v3::Record, MAX_RECORD>(3, bytes)
                .and_then(|record| Self::try_from(record).map_err(|_| DecodeError::Malformed)),
            Some(found) => return Err(RecordError::Version { found }),
            None => return Err(RecordError::Malformed),
        };
        record.map_err(|_| RecordError::Malformed)
    }
}

impl<'a> From<&'a Attach> for DeviceRecord<'a> {
    fn from(attach: &'a Attach) -> Self {
        let Attach { id, console, vifs } = attach;
        Self { id: *id, console: *console, vifs: Cow::Borrowed(vifs) }
    }
}

impl From<DeviceRecord<'_>> for Attach {
    fn from(record: DeviceRecord<'_>) -> Self {
        let DeviceRecord { id, console, vifs } = record;
        Self { id, console, vifs: vifs.into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_a_record_is_refused_by_what_it_is() {
        let id = DomainId { domid: 3, handle: [7; 16] };
        let console = Some(ConsoleDevice { port: 1, ring: 8 });
        let record = DeviceRecord { id, console, vifs: Cow::Borrowed(&[]) };
        let mut bytes = record.encode();
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
        fn no_bytes_do_harm(
            version in OLDEST_VERSION..=RECORD_VERSION,
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = DeviceRecord::decode(&[&[version][..], &bytes].concat());
        }
    }
}
