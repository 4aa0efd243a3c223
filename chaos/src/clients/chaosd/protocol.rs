// SPDX-License-Identifier: GPL-3.0-or-later
//! The messages and their encoding: the byte [`PROTOCOL`], then bincode.

use bincode::{Decode, Encode};
use daemon::encoding::{self, DecodeError};
use serde::Serialize;
use thiserror::Error;

use crate::config::EncodedConfig;
use crate::failure::FailureClass;
use crate::records::{Record, RequestId};

/// First byte of each packet. It changes when the messages change.
pub const PROTOCOL: u8 = 12 + cfg!(feature = "newer-protocol") as u8;

/// Longest packet in bytes, in both directions.
pub const MAX_PACKET: usize = 16 * 1024;

/// A request to `chaosd`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Create a guest. From root, the packet carries the kernel as a file descriptor that is open
    /// for reading, followed by the ramdisk if the config has one, and by the files behind all of its
    /// disks or by none. If none come, `chaosd` opens the disks. From other users, who could pass a
    /// descriptor that blocks its reader and whose guests have no disks, the bytes of kernel and ramdisk
    /// were uploaded before.
    Create {
        /// The guest.
        config: EncodedConfig,
        /// Leave it paused.
        paused: bool,
        /// Identifies the request: a client whose connection was lost sends it again with the same
        /// number, and learns of the guest if the first one was carried out.
        request: RequestId,
    },
    /// Upload a file for the next create: the packets that follow are its bytes. It is answered
    /// twice, before and after the bytes.
    Upload {
        /// The length of the file in bytes.
        length: u64,
    },
    /// Report the state of the pool.
    Pool {
        /// The number of flavours to leave out: those that earlier replies have described.
        from: u32,
    },
    /// Change how many shells of a flavour are kept ready.
    Resize {
        /// The name of the flavour.
        flavour: String,
        /// With fewer ready shells than this, the pool is refilled.
        low: u32,
        /// Number of shells up to which it is refilled.
        high: u32,
    },
    /// Destroy all ready shells, and prepare no new ones until the next resize or reload.
    Drain,
}

/// A reply of `chaosd`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// The guest is created.
    Created(Created),
    /// The state of some flavours of the pool, in order.
    Pool {
        /// As many as fit in a packet.
        flavours: Vec<FlavourStatus>,
        /// Whether there are more.
        more: bool,
    },
    /// The request is carried out.
    Done,
    /// The request was not carried out, and has left nothing behind.
    Refused(Refusal),
}

/// A guest that was created.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Created {
    /// Its number.
    pub domid: u16,
    /// Its handle, as a UUID.
    pub handle: String,
    /// The origin of its shell.
    pub shell: Origin,
    /// Whether it is in XenStore mode because of its kernel: its config does not say.
    pub is_kernels_store: bool,
    /// The stages of the create, and the duration of each in nanoseconds.
    pub stages: Vec<(String, u64)>,
}

impl From<Record> for Created {
    /// Returns the answer for a guest that an earlier attempt of the request has created.
    fn from(record: Record) -> Self {
        Self {
            domid: record.domid.0,
            handle: record.handle.to_string(),
            shell: Origin::Unknown,
            is_kernels_store: false,
            stages: Vec::new(),
        }
    }
}

/// The origin of a guest's shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Origin {
    /// The pool; the image was loaded already.
    Warm,
    /// The pool.
    Pool,
    /// It was prepared for this request.
    Cold,
    /// An earlier `chaosd` created the guest, and was stopped before it could report that.
    Unknown,
}

impl Origin {
    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Pool => "pool",
            Self::Cold => "cold",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Error)]
#[error("{message}")]
pub struct Refusal {
    /// The class of the failure.
    pub class: FailureClass,
    /// What failed, why, and the remedy.
    pub message: String,
}

/// The state of a flavour's part of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct FlavourStatus {
    /// Its name.
    pub name: String,
    /// Memory of a shell in KiB.
    pub memory_kib: u64,
    /// vCPUs of a shell.
    pub vcpus: u32,
    /// Whether a shell has a console.
    pub console: bool,
    /// The bridge of each vif of a shell.
    pub bridges: Vec<String>,
    /// Number of disks of a shell.
    pub disks: u16,
    /// The kernel that is loaded into a shell.
    pub kernel: Option<String>,
    /// Whether the configuration does not name the flavour: it is kept because it was asked for.
    #[serde(rename = "learned")]
    pub is_learned: bool,
    /// With fewer ready shells than this, the pool is refilled.
    pub low: u32,
    /// Number of shells up to which it is refilled.
    pub high: u32,
    /// Number of ready shells.
    pub ready: u32,
    /// Number of shells that are being prepared.
    pub creating: u32,
    /// Number of requests that found a ready shell.
    pub hits: u64,
    /// Number of requests of this flavour that found none.
    pub misses: u64,
    /// Time that the last shell took to prepare, in nanoseconds; 0 before the first.
    pub refill_ns: u64,
}

/// Encodes a message as a packet. Returns `None` if it is longer than [`MAX_PACKET`].
#[must_use]
pub fn encode<T: Encode>(message: &T) -> Option<Vec<u8>> {
    encoding::encode::<MAX_PACKET>(PROTOCOL, message)
}

/// Decodes a packet as a message; the packet must contain nothing else.
///
/// # Errors
/// The packet has another protocol version, or is not such a message.
pub fn decode<T: Decode<()>>(packet: &[u8]) -> Result<T, DecodeError> {
    encoding::decode::<T, MAX_PACKET>(PROTOCOL, packet)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn requests() -> Vec<Request> {
        let config = crate::config::parse_str(
            "test",
            "name='a'\ntype='pvh'\nkernel='k'\nramdisk='r'\nvif=['ip=10.0.0.2/24 10.0.0.1']",
            &[],
            true,
        )
        .unwrap()
        .config;
        vec![
            Request::Create {
                config: EncodedConfig::from(&config),
                paused: true,
                request: [9; 16],
            },
            Request::Upload { length: 1 << 20 },
            Request::Pool { from: 3 },
            Request::Resize { flavour: "small".into(), low: 3, high: 9 },
            Request::Drain,
        ]
    }

    #[test]
    fn a_decoded_message_equals_the_encoded_one() {
        for request in requests() {
            assert_eq!(decode(&encode(&request).unwrap()), Ok(request));
        }
    }

    #[test]
    fn bytes_that_are_not_a_message_are_refused() {
        for request in requests() {
            let packet = encode(&request).unwrap();
            for length in 0..packet.len() {
                let cut = decode::<Request>(&packet[..length]);
                assert_eq!(cut, Err(DecodeError::Malformed), "{request:?} cut to {length}");
            }
            let longer = [&packet[..], &[0]].concat();
            assert_eq!(decode::<Request>(&longer), Err(DecodeError::Malformed));
        }
        assert_eq!(
            decode::<Request>(&[99, 1]),
            Err(DecodeError::Version { found: 99, known: PROTOCOL })
        );
    }

    #[test]
    fn a_message_that_does_not_fit_in_a_packet_is_not_encoded() {
        let flavour = "x".repeat(MAX_PACKET);
        assert_eq!(encode(&Request::Resize { flavour, low: 0, high: 0 }), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_decoded_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut packet = vec![PROTOCOL];
            packet.extend(bytes);
            let _ = decode::<Request>(&packet);
            let _ = decode::<Reply>(&packet);
        }
    }
}
