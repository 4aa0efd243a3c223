// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client's half: batches of requests.

use crate::{Frame, Header, Kind, MAX_PAYLOAD};

/// The permissions of a new node; its owner may do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Only the owner may use it.
    Owner(u16),
    /// The first domain owns the node, the second may read it.
    ReadableBy(u16, u16),
}

/// Requests that are sent together, and answered in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    kinds: Vec<Kind>,
    transaction: u32,
}

impl Batch {
    /// Returns a batch outside of any transaction.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a batch inside of a transaction.
    #[must_use]
    pub fn inside(transaction: u32) -> Self {
        // The requests for a domain with one vif fit.
        Self { bytes: Vec::with_capacity(4096), kinds: Vec::with_capacity(64), transaction }
    }

    /// Adds a request whose payload is the parts, one after the other.
    fn add(&mut self, kind: Kind, transaction: u32, parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        debug_assert!(length <= MAX_PAYLOAD, "{kind:?} of {length} bytes");
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let request = u32::try_from(self.kinds.len()).unwrap_or(u32::MAX);
        Header { kind: kind as u32, request, transaction, length }.write(&mut self.bytes);
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

    /// Writes a node, and creates missing parents.
    pub fn write(&mut self, path: &str, value: &str) {
        self.add(Kind::Write, self.transaction, &[path.as_bytes(), b"\0", value.as_bytes()]);
    }

    /// Removes a node and all below it.
    pub fn remove(&mut self, path: &str) {
        self.add(Kind::Remove, self.transaction, &[path.as_bytes(), b"\0"]);
    }

    /// Creates a node and sets its permissions, which nodes created below it later inherit.
    pub fn make(&mut self, path: &str, permission: Permission) {
        let permissions = match permission {
            Permission::Owner(owner) => format!("n{}\0", owner),
            Permission::ReadableBy(owner, reader) => format!("n{}\0r{}\0", owner, reader),
        };
        self.add(Kind::Mkdir, self.transaction, &[path.as_bytes(), b"\0"]);
        let parts = [path.as_bytes(), b"\0", permissions.as_bytes()];
        self.add(Kind::SetPerms, self.transaction, &parts);
    }

    /// Introduces a domain to xenstored, by its ring page and the domain's end of the event
    /// channel.
    pub fn introduce(&mut self, domid: u16, gfn: u64, port: u32) {
        let payload = format!("{}\0{gfn}\0{port}\0", domid);
        self.add(Kind::Introduce, 0, &[payload.as_bytes()]);
    }

    /// Watches a node; events carry the token.
    pub fn watch(&mut self, path: &str, token: &str) {
        let parts = [path.as_bytes(), b"\0", token.as_bytes(), b"\0"];
        self.add(Kind::Watch, 0, &parts);
    }

    /// Returns the encoded requests.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Describes a request for an error's text: what it does, and to which node or domain.
    #[must_use]
    pub fn describe(&self, number: usize) -> String {
        let mut rest = &self.bytes[..];
        let mut frames = std::iter::from_fn(|| {
            let (frame, after) = Frame::split(rest).ok()??;
            rest = after;
            Some(frame.payload)
        });
        let payload = frames.nth(number).unwrap_or_default();
        let kind = self.kinds.get(number);
        let path = payload.split(|byte| *byte == 0).next().unwrap_or_default();
        format!("{} {}", kind.map_or("do", |kind| kind.verb()), String::from_utf8_lossy(path))
    }

    /// Returns the kinds that the replies must have.
    #[must_use]
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HEADER;

    fn words(bytes: &[u8]) -> Vec<u32> {
        let word = |chunk: &[u8]| u32::from_le_bytes(chunk.try_into().unwrap());
        bytes[..HEADER].chunks(4).map(word).collect()
    }

    #[test]
    fn requests_are_encoded_as_the_protocol_says() {
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
    fn an_introduction_is_outside_of_the_transaction() {
        let mut batch = Batch::inside(7);
        batch.introduce(3, 2049, 1);
        assert_eq!(words(batch.bytes()), [8, 0, 0, 9]);
        assert_eq!(&batch.bytes()[HEADER..], b"3\x002049\x001\0");
    }
}
