//! XenStore's messages: `struct xsd_sockmsg` of Xen's `public/io/xs_wire.h`, and what follows it as
//! `docs/misc/xenstore.txt` says.
//!
//! The crate `xenstore-rs` keeps its own to itself, and has no transactions, no permissions and no
//! watches; what needs none of these goes through it.

use std::io::{self, Read};

/// Longest payload of a message, in bytes (`XENSTORE_PAYLOAD_MAX`).
pub const MAX_PAYLOAD: usize = 4096;

/// Bytes before the payload.
const HEADER: usize = 16;

/// What a message is (`enum xsd_sockmsg_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Returns a node's value.
    Read = 2,
    /// Watches a node and all below it.
    Watch = 4,
    /// Starts a transaction.
    TransactionStart = 6,
    /// Commits or aborts a transaction.
    TransactionEnd = 7,
    /// Makes a domain known to xenstored.
    Introduce = 8,
    /// Writes a node's value.
    Write = 11,
    /// Creates a node.
    Mkdir = 12,
    /// Sets the permissions of a node.
    SetPerms = 14,
    /// Says that a watched node has changed.
    WatchEvent = 15,
    /// The answer to a request that failed.
    Error = 16,
}

impl Kind {
    fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Watch => "watch",
            Self::TransactionStart => "begin a transaction",
            Self::TransactionEnd => "end a transaction",
            Self::Introduce => "take in domain",
            Self::Write => "write",
            Self::Mkdir => "make",
            Self::SetPerms => "set the permissions of",
            Self::WatchEvent | Self::Error => "answer",
        }
    }
}

/// What a domain that is not the owner may do with a node; the owner may do all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Nobody else may do anything.
    Owner(u16),
    /// The first domain owns the node, the second may read it.
    ReadableBy(u16, u16),
}

/// Requests that are sent in one piece, and answered in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    kinds: Vec<Kind>,
    transaction: u32,
}

impl Batch {
    /// Requests outside of any transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests inside of a transaction.
    pub fn inside(transaction: u32) -> Self {
        // What a domain with one vif takes.
        Self { bytes: Vec::with_capacity(4096), kinds: Vec::with_capacity(64), transaction }
    }

    /// Adds a request whose payload is the parts, one after the other.
    fn add(&mut self, kind: Kind, transaction: u32, parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        debug_assert!(length <= MAX_PAYLOAD, "{kind:?} of {length} bytes");
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let number = u32::try_from(self.kinds.len()).unwrap_or(u32::MAX);
        for word in [kind as u32, number, transaction, length] {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.kinds.push(kind);
    }

    /// Starts a transaction.
    pub fn start_transaction(&mut self) {
        self.add(Kind::TransactionStart, 0, &[b"\0"]);
    }

    /// Commits the transaction.
    pub fn commit(&mut self) {
        self.add(Kind::TransactionEnd, self.transaction, &[b"T\0"]);
    }

    /// Aborts the transaction.
    pub fn abort(&mut self) {
        self.add(Kind::TransactionEnd, self.transaction, &[b"F\0"]);
    }

    /// Reads a node.
    pub fn read(&mut self, path: &str) {
        self.add(Kind::Read, self.transaction, &[path.as_bytes(), b"\0"]);
    }

    /// Writes a node; what is missing above it is made.
    pub fn write(&mut self, path: &str, value: &str) {
        self.add(Kind::Write, self.transaction, &[path.as_bytes(), b"\0", value.as_bytes()]);
    }

    /// Makes a node, and says who may do what with it and with what is made below it later.
    pub fn make(&mut self, path: &str, permission: Permission) {
        let permissions = match permission {
            Permission::Owner(owner) => format!("n{}\0", owner),
            Permission::ReadableBy(owner, reader) => format!("n{}\0r{}\0", owner, reader),
        };
        self.add(Kind::Mkdir, self.transaction, &[path.as_bytes(), b"\0"]);
        let parts = [path.as_bytes(), b"\0", permissions.as_bytes()];
        self.add(Kind::SetPerms, self.transaction, &parts);
    }

    /// Tells xenstored of a domain, by its ring page and the domain's end of the event channel.
    pub fn introduce(&mut self, domid: u16, gfn: u64, port: u32) {
        let payload = format!("{}\0{gfn}\0{port}\0", domid);
        self.add(Kind::Introduce, 0, &[payload.as_bytes()]);
    }

    /// Watches a node; events carry the token.
    pub fn watch(&mut self, path: &str, token: &str) {
        let parts = [path.as_bytes(), b"\0", token.as_bytes(), b"\0"];
        self.add(Kind::Watch, 0, &parts);
    }

    /// The requests as they travel.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A request in words: what it is and what about.
    pub fn describe(&self, number: usize) -> String {
        let mut rest = &self.bytes[..];
        for _ in 0..number {
            rest = rest.get(HEADER + payload_length(rest)..).unwrap_or_default();
        }
        let kind = self.kinds.get(number);
        let payload = rest.get(HEADER..).unwrap_or_default();
        let path = payload.split(|byte| *byte == 0).next().unwrap_or_default();
        format!("{} {}", kind.map_or("do", |kind| kind.verb()), String::from_utf8_lossy(path))
    }

    /// What the answers must be.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }
}

/// A message from xenstored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    kind: u32,
    payload: Vec<u8>,
}

impl Message {
    /// Reads one message.
    pub fn read_from(from: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; HEADER];
        from.read_exact(&mut header)?;
        let length = payload_length(&header);
        if length > MAX_PAYLOAD {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a message is longer than any is",
            ));
        }
        let mut payload = vec![0; length];
        from.read_exact(&mut payload)?;
        Ok(Self { kind: word(&header, 0), payload })
    }

    /// Whether the message is of this kind.
    pub fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u32
    }

    /// The payload up to the first zero byte: a value, the name of an error, or the path of an event.
    pub fn text(&self) -> &str {
        let text = self.payload.split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

/// A word of a header.
fn word(header: &[u8], at: usize) -> u32 {
    let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    u32::from_le_bytes(bytes.unwrap_or_default())
}

fn payload_length(header: &[u8]) -> usize {
    usize::try_from(word(header, 12)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(bytes: &[u8]) -> Vec<u32> {
        let word = |chunk: &[u8]| u32::from_le_bytes(chunk.try_into().unwrap());
        bytes[..HEADER].chunks(4).map(word).collect()
    }

    #[test]
    fn requests_are_as_the_protocol_has_them() {
        let mut batch = Batch::inside(7);
        batch.write("/a", "b");
        assert_eq!(words(batch.bytes()), [11, 0, 7, 4]);
        assert_eq!(&batch.bytes()[HEADER..], b"/a\0b");
        batch.commit();
        let end = &batch.bytes()[HEADER + 4..];
        assert_eq!(words(end), [7, 1, 7, 2]);
        assert_eq!(&end[HEADER..], b"T\0");
        assert_eq!(batch.kinds(), [Kind::Write, Kind::TransactionEnd]);
        assert_eq!(batch.describe(0), "write /a");
        assert_eq!(batch.describe(1), "end a transaction T");
    }

    #[test]
    fn permissions_name_the_owner_first() {
        for (permission, expected) in [
            (Permission::Owner(3), &b"/d\0n3\0"[..]),
            (Permission::ReadableBy(0, 3), &b"/d\0n0\0r3\0"[..]),
        ] {
            let mut batch = Batch::new();
            batch.make("/d", permission);
            assert_eq!(batch.kinds(), [Kind::Mkdir, Kind::SetPerms]);
            assert!(batch.bytes().ends_with(expected), "{permission:?}");
        }
    }

    #[test]
    fn what_is_told_once_is_outside_of_the_transaction() {
        let mut batch = Batch::inside(7);
        batch.introduce(3, 2049, 1);
        assert_eq!(words(batch.bytes()), [8, 0, 0, 9]);
        assert_eq!(&batch.bytes()[HEADER..], b"3\x002049\x001\0");
    }

    #[test]
    fn answers_are_read_and_long_ones_refused() {
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
