// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages to the kernel over netlink(7).

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// `linux/netlink.h`.
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;

/// Flag of a message whose success the kernel answers, too.
pub(super) const ACK: u16 = NLM_F_ACK;

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Bytes of `struct nlattr`.
const ATTRIBUTE: usize = 4;

/// A message without its header.
#[derive(Clone, Debug)]
pub(super) struct Message {
    kind: u16,
    body: Vec<u8>,
}

impl Message {
    /// Returns a message without a body.
    pub(super) fn new(kind: u16) -> Self {
        Self { kind, body: Vec::new() }
    }

    /// Appends bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.body.extend(bytes);
    }

    /// Appends an attribute.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.body.extend(attribute(kind, value));
    }

    /// Returns its bytes, with the header.
    pub(super) fn finished(&self, flags: u16) -> Vec<u8> {
        let length = u32::try_from(HEADER + self.body.len()).expect("names and paths are short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        // The numbers of the request and of the sender.
        bytes.extend([0; 8]);
        bytes.extend(&self.body);
        bytes
    }
}

/// Returns an attribute: length, kind, value, and padding to a multiple of four bytes.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(ATTRIBUTE + value.len()).expect("names and paths are short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Returns the value of an attribute, if it is there.
pub(super) fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let number =
            |at: usize| Some(u16::from_ne_bytes(attributes.get(at..at + 2)?.try_into().ok()?));
        let (length, found) = (usize::from(number(0)?), number(2)?);
        let value = attributes.get(ATTRIBUTE..length)?;
        if found == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// A connection to a part of the kernel.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    /// Opens one.
    pub(super) fn open(protocol: SockProtocol) -> Result<Self, Errno> {
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).map(Self)
    }

    /// Has the kernel carry out a message. It answers with success or an error.
    pub(super) fn order(&self, message: Message) -> Result<(), Errno> {
        outcome(&self.exchange(&message.finished(ACK))?)
    }

    /// Asks the kernel for an answer, and returns that without its header.
    pub(super) fn ask(&self, message: Message) -> Result<Vec<u8>, Errno> {
        let answer = self.exchange(&message.finished(0))?;
        match kind(&answer) {
            Some(NLMSG_ERROR) => Err(outcome(&answer).err().unwrap_or(Errno::EBADMSG)),
            Some(_) => Ok(answer.get(HEADER..).unwrap_or_default().to_vec()),
            None => Err(Errno::EBADMSG),
        }
    }

    /// Sends a message and receives the kernel's answer, which is queued before the send returns.
    fn exchange(&self, message: &[u8]) -> Result<Vec<u8>, Errno> {
        let fd = self.0.as_raw_fd();
        sendto(fd, message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answer = vec![0; 4096];
        let length = recv(fd, &mut answer, MsgFlags::MSG_DONTWAIT)?;
        answer.truncate(length);
        Ok(answer)
    }
}

fn kind(answer: &[u8]) -> Option<u16> {
    answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes)
}

/// Returns the result in an answer: `struct nlmsgerr` after the header.
fn outcome(answer: &[u8]) -> Result<(), Errno> {
    let error = answer.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok());
    match (kind(answer), error.map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(Errno::from_raw(error.saturating_neg())),
        _ => Err(Errno::EBADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_decoded() {
        let answer = |kind: u16, error: i32| {
            let mut message = Message::new(kind);
            message.bytes(&error.to_ne_bytes());
            message.finished(0)
        };
        assert_eq!(outcome(&answer(NLMSG_ERROR, 0)), Ok(()));
        assert_eq!(outcome(&answer(NLMSG_ERROR, -19)), Err(Errno::ENODEV));
        assert_eq!(outcome(&answer(3, 0)), Err(Errno::EBADMSG));
        assert_eq!(outcome(&[]), Err(Errno::EBADMSG));
    }

    #[test]
    fn attributes_are_found_and_bad_ones_are_not() {
        let bytes = [attribute(2, b"nbd\0"), attribute(7, b"x"), attribute(1, &[22, 0])].concat();
        assert_eq!(bytes.len(), 24);
        assert_eq!(find(&bytes, 1), Some(&[22, 0][..]));
        assert_eq!(find(&bytes, 7), Some(&b"x"[..]));
        assert_eq!(find(&bytes, 3), None);
        for bad in [&[0; 4][..], &[3, 0, 1, 0], &[9, 0, 1, 0, 1], &[4]] {
            assert_eq!(find(bad, 1), None, "{bad:?}");
        }
    }

    /// The kernel's list of families is there on each host, and names itself.
    #[test]
    fn the_kernel_answers() {
        let socket = Socket::open(SockProtocol::NetlinkGeneric).unwrap();
        let mut message = Message::new(16);
        message.bytes(&[3, 1, 0, 0]);
        let mut unknown = message.clone();
        message.attribute(2, b"nlctrl\0");
        unknown.attribute(2, b"none-such\0");
        let answer = socket.ask(message).unwrap();
        assert_eq!(find(&answer[4..], 1), Some(&16u16.to_ne_bytes()[..]));
        assert_eq!(socket.ask(unknown), Err(Errno::ENOENT));
    }
}
