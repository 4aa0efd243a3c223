//! The messages, and their encoding: one byte [`PROTOCOL`], then bincode.

use bincode::{Decode, Encode};
use daemon::encoding::{self, DecodeError};
use serde::Serialize;
use thiserror::Error;

use crate::config::EncodedConfig;
use crate::failure::FailureClass;

/// First byte of each packet; changes when the messages do.
pub const PROTOCOL: u8 = 2 + cfg!(feature = "newer-protocol") as u8;

/// Largest packet either side sends, in bytes.
pub const MAX_PACKET: usize = 16 * 1024;

/// What is asked of `chaosd`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Make a guest. The kernel comes along as a file descriptor, opened for reading, and behind it
    /// the ramdisk if the config has one.
    Create {
        /// The guest.
        config: EncodedConfig,
        /// Leave it paused.
        paused: bool,
    },
    /// Tell how the pool is.
    Pool,
    /// Change how many shells of a flavour are kept.
    Resize {
        /// Its name.
        flavour: String,
        /// Below this many the pool is refilled.
        low: u32,
        /// Up to this many.
        high: u32,
    },
    /// Destroy all ready shells, and make no new ones until the next resize or reload.
    Drain,
}

/// What `chaosd` answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// The guest is made.
    Created(Created),
    /// How the pool is.
    Pool(Vec<FlavourStatus>),
    /// It is done.
    Done,
    /// It was not done, and nothing of it is left.
    Refused(Refusal),
}

/// A guest that was made.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Created {
    /// Its number.
    pub domid: u16,
    /// Its handle, as a UUID.
    pub handle: String,
    /// Where its shell came from.
    pub shell: Origin,
    /// What was done, and how long each stage took, in nanoseconds.
    pub stages: Vec<(String, u64)>,
}

/// Where a guest's shell came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Origin {
    /// From the pool, with the image in it.
    Warm,
    /// From the pool.
    Pool,
    /// It was made on the spot.
    Cold,
}

impl Origin {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Pool => "pool",
            Self::Cold => "cold",
        }
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of failure it is.
    pub class: FailureClass,
    /// What, why, and what to do.
    pub message: String,
}

/// How a flavour's part of the pool is.
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
    /// The kernel that a shell holds.
    pub kernel: Option<String>,
    /// Below this many the pool is refilled.
    pub low: u32,
    /// Up to this many.
    pub high: u32,
    /// Ready shells.
    pub ready: u32,
    /// Shells that are being made.
    pub making: u32,
    /// Requests that found a ready shell.
    pub hits: u64,
    /// Requests that fitted, and found none.
    pub misses: u64,
    /// How long the last shell took to make, in nanoseconds; 0 before the first.
    pub refill_ns: u64,
}

/// Encodes a message as a packet. `None` if it is longer than [`MAX_PACKET`].
#[must_use]
pub fn encode<T: Encode>(message: &T) -> Option<Vec<u8>> {
    encoding::encode::<MAX_PACKET>(PROTOCOL, message)
}

/// Decodes a packet as a message; the packet must contain nothing else.
///
/// # Errors
/// Another protocol version, or bytes that are no such message.
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
            Request::Create { config: EncodedConfig::from(&config), paused: true },
            Request::Pool,
            Request::Resize { flavour: "small".into(), low: 3, high: 9 },
            Request::Drain,
        ]
    }

    #[test]
    fn messages_come_back_as_they_were() {
        for request in requests() {
            assert_eq!(decode(&encode(&request).unwrap()), Ok(request));
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
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
            decode::<Request>(&[9, 1]),
            Err(DecodeError::Version { found: 9, known: PROTOCOL })
        );
    }

    #[test]
    fn what_does_not_fit_in_a_packet_is_not_encoded() {
        let flavour = "x".repeat(MAX_PACKET);
        assert_eq!(encode(&Request::Resize { flavour, low: 0, high: 0 }), None);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut packet = vec![PROTOCOL];
            packet.extend(bytes);
            let _ = decode::<Request>(&packet);
            let _ = decode::<Reply>(&packet);
        }
    }
}
