// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client's half: reads replies and events.

use std::io::{self, Read};

#[cfg(doc)]
use crate::TooLong;
use crate::{HEADER, Header, Kind};

/// A message from xenstored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    kind: u32,
    payload: Vec<u8>,
}

impl Message {
    /// Reads one message.
    ///
    /// # Errors
    /// The stream has ended or fails, or the message is [too long](TooLong).
    pub fn read_from(from: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; HEADER];
        from.read_exact(&mut header)?;
        let header = Header::from_bytes(header);
        let length = header.payload_length();
        let length = length.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let mut payload = vec![0; length];
        from.read_exact(&mut payload)?;
        Ok(Self { kind: header.kind, payload })
    }

    /// Returns whether the message is of this kind.
    #[must_use]
    pub fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u32
    }

    /// Returns the payload up to the first zero byte: a value, the name of an error, or the path of
    /// an event.
    #[must_use]
    pub fn text(&self) -> &str {
        let text = self.payload.split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// Returns the whole payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_and_long_ones_refused() {
        let mut bytes = Vec::new();
        for word in [16u32, 5, 0, 7] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(b"EAGAIN\0");
        let message = Message::read_from(&mut bytes.as_slice()).unwrap();
        assert!(message.is(Kind::Error) && message.text() == "EAGAIN");
        assert!(Message::read_from(&mut &bytes[..20]).is_err(), "cut short");
        bytes[12..16].copy_from_slice(&5000u32.to_le_bytes());
        assert!(Message::read_from(&mut bytes.as_slice()).is_err(), "too long");
    }
}
