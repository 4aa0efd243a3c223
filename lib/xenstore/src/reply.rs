// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server's half: writes replies, errors and events.

use crate::{ErrorName, Header, Kind, MAX_PAYLOAD, NodeAccess, TooLong};

/// A reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Success, without a value.
    Done,
    /// A node's value.
    Value(&'a [u8]),
    /// The names of a node's children.
    Names(&'a [&'a str]),
    /// A part of the list of [`Names`](Self::Names).
    NamesPart {
        /// Changes whenever the list does.
        generation: u64,
        /// The bytes of the list from the requested position on. The last part ends with an empty
        /// name.
        list: &'a [u8],
    },
    /// A node's permissions, the owner first.
    Access(&'a [NodeAccess]),
    /// The new transaction's number.
    Transaction(u32),
    /// A path.
    Path(&'a str),
    /// Yes or no.
    Flag(bool),
    /// The request failed.
    Error(ErrorName),
}

impl Reply<'_> {
    /// Appends the reply to the request with header `to`.
    ///
    /// # Errors
    /// It does not fit into a message, and nothing is appended. Reply with [`ErrorName::TooBig`]
    /// then.
    pub fn write(&self, to: Header, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let kind = if matches!(self, Self::Error(_)) { Kind::Error as u32 } else { to.kind };
        write(Header { kind, ..to }, out, |out| match *self {
            Self::Done => out.extend_from_slice(b"OK\0"),
            Self::Value(value) => out.extend_from_slice(value),
            Self::Names(names) => names.iter().for_each(|name| text(out, name)),
            Self::NamesPart { generation, list } => {
                text(out, &generation.to_string());
                out.extend_from_slice(list);
            }
            Self::Access(list) => list.iter().for_each(|entry| text(out, &entry.to_string())),
            Self::Transaction(number) => text(out, &number.to_string()),
            Self::Path(path) => text(out, path),
            Self::Flag(flag) => text(out, if flag { "T" } else { "F" }),
            Self::Error(error) => text(out, error.as_str()),
        })
    }
}

/// Appends the event of a watch: the node that has changed, and the watch's token.
///
/// # Errors
/// It does not fit into a message, and nothing is appended.
pub fn write_event(path: &str, token: &[u8], out: &mut Vec<u8>) -> Result<(), TooLong> {
    let kind = Kind::WatchEvent as u32;
    write(Header { kind, request: 0, transaction: 0, length: 0 }, out, |out| {
        text(out, path);
        out.extend_from_slice(token);
        out.push(0);
    })
}

/// Appends a message and then fills in the length of its payload.
fn write(
    header: Header,
    out: &mut Vec<u8>,
    payload: impl FnOnce(&mut Vec<u8>),
) -> Result<(), TooLong> {
    let start = out.len();
    header.write(out);
    let begin = out.len();
    payload(out);
    let length = out.len() - begin;
    match u32::try_from(length) {
        Ok(word) if length <= MAX_PAYLOAD => {
            out[begin - size_of::<u32>()..begin].copy_from_slice(&word.to_le_bytes());
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(TooLong { length })
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Access;

    const TO: Header = Header { kind: Kind::Read as u32, request: 7, transaction: 5, length: 3 };

    fn payload(reply: Reply<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        reply.write(TO, &mut out).unwrap();
        out.split_off(crate::HEADER)
    }

    #[test]
    fn replies_are_encoded_as_the_protocol_says() {
        let list = [
            NodeAccess { domid: 0, access: Access::None },
            NodeAccess { domid: 3, access: Access::Both },
        ];
        assert_eq!(payload(Reply::Done), b"OK\0");
        assert_eq!(payload(Reply::Value(b"a\0b")), b"a\0b");
        assert_eq!(payload(Reply::Names(&["0", "1"])), b"0\x001\0");
        assert_eq!(payload(Reply::NamesPart { generation: 9, list: b"0\0\0" }), b"9\x000\0\0");
        assert_eq!(payload(Reply::Access(&list)), b"n0\0b3\0");
        assert_eq!(payload(Reply::Transaction(12)), b"12\0");
        assert_eq!(payload(Reply::Path("/local/domain/3")), b"/local/domain/3\0");
        assert_eq!(payload(Reply::Flag(true)), b"T\0");
        assert_eq!(payload(Reply::Error(ErrorName::NotFound)), b"ENOENT\0");
    }

    #[test]
    fn a_reply_that_does_not_fit_appends_nothing() {
        let mut out = b"before".to_vec();
        let long = vec![0; MAX_PAYLOAD + 1];
        let refused = Reply::Value(&long).write(TO, &mut out);
        assert_eq!(refused, Err(TooLong { length: MAX_PAYLOAD + 1 }));
        assert_eq!(write_event("/a", &long, &mut out), Err(TooLong { length: MAX_PAYLOAD + 5 }));
        assert_eq!(out, b"before");
        Reply::Value(&long[1..]).write(TO, &mut out).unwrap();
        assert_eq!(out.len(), 6 + crate::HEADER + MAX_PAYLOAD);
    }
}
