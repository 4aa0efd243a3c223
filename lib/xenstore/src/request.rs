// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server's half: reads requests.

use crate::access::number;
use crate::{ErrorName, Frame, Kind, NodeAccess, Path};

/// A client's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// List a node's children.
    Directory(Path<'a>),
    /// List a node's children from a position in the list, in bytes.
    DirectoryPart(Path<'a>, u32),
    /// Read a node's value.
    Read(Path<'a>),
    /// Read a node's permissions.
    GetPerms(Path<'a>),
    /// Watch a node and all below it; events carry the token.
    Watch {
        /// The node.
        path: Path<'a>,
        /// The client's name for the watch.
        token: &'a [u8],
    },
    /// End a watch.
    Unwatch {
        /// The node.
        path: Path<'a>,
        /// The client's name for the watch.
        token: &'a [u8],
    },
    /// Start a transaction.
    TransactionStart,
    /// End the message's transaction.
    TransactionEnd {
        /// Commit it, or else abort it.
        commit: bool,
    },
    /// Connect a domain.
    Introduce {
        /// The domain.
        domid: u16,
        /// Frame of its ring page.
        gfn: u64,
        /// Its end of the event channel.
        port: u32,
    },
    /// Disconnect a domain.
    Release(u16),
    /// Return the path of a domain's own nodes.
    GetDomainPath(u16),
    /// Write a node's value, and create missing parents.
    Write {
        /// The node.
        path: Path<'a>,
        /// Any bytes.
        value: &'a [u8],
    },
    /// Create a node, unless it exists.
    Mkdir(Path<'a>),
    /// Remove a node and all below it.
    Remove(Path<'a>),
    /// Set a node's permissions.
    SetPerms {
        /// The node.
        path: Path<'a>,
        /// The permissions: at least the owner's, which comes first.
        access: Vec<NodeAccess>,
    },
    /// Say whether a domain is connected.
    IsDomainIntroduced(u16),
    /// Resume a domain that was suspended.
    Resume(u16),
    /// Let a domain act for another one.
    SetTarget {
        /// The domain that acts.
        domid: u16,
        /// The domain it acts for.
        target: u16,
    },
    /// End all watches and transactions of the connection.
    ResetWatches,
}

/// Why a message is not a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The protocol does not have this kind, or only servers or administrators send it.
    #[error("a XenStore message of kind {kind} is not a request")]
    Kind {
        /// The number in the header.
        kind: u32,
    },
    /// The payload does not fit the kind.
    #[error("a XenStore request to {} has a malformed payload", kind.verb())]
    Payload {
        /// The kind of the request.
        kind: Kind,
    },
}

impl Malformed {
    /// Returns the error that answers such a message.
    #[must_use]
    pub fn name(self) -> ErrorName {
        match self {
            Self::Kind { .. } => ErrorName::NotSupported,
            Self::Payload { .. } => ErrorName::Invalid,
        }
    }
}

impl<'a> Request<'a> {
    /// Reads a request. Its transaction is in the frame's header.
    ///
    /// # Errors
    /// The message is not a request; the answer is [`Malformed::name`].
    pub fn parse(frame: &Frame<'a>) -> Result<Self, Malformed> {
        let word = frame.header.kind;
        let kind = Kind::of(word).ok_or(Malformed::Kind { kind: word })?;
        let request = match kind {
            Kind::Control | Kind::WatchEvent | Kind::Error => {
                return Err(Malformed::Kind { kind: word });
            }
            _ => Self::of(kind, frame.payload),
        };
        request.ok_or(Malformed::Payload { kind })
    }

    fn of(kind: Kind, payload: &'a [u8]) -> Option<Self> {
        Some(match kind {
            Kind::Directory => Self::Directory(only_path(payload)?),
            Kind::DirectoryPart => {
                let [path, offset] = texts(payload)?;
                Self::DirectoryPart(Path::new(path)?, number(offset)?)
            }
            Kind::Read => Self::Read(only_path(payload)?),
            Kind::GetPerms => Self::GetPerms(only_path(payload)?),
            Kind::Watch => {
                let (path, token) = watch(payload)?;
                Self::Watch { path, token }
            }
            Kind::Unwatch => {
                let (path, token) = watch(payload)?;
                Self::Unwatch { path, token }
            }
            Kind::TransactionStart => Self::TransactionStart,
            Kind::TransactionEnd => match payload {
                b"T\0" => Self::TransactionEnd { commit: true },
                b"F\0" => Self::TransactionEnd { commit: false },
                _ => return None,
            },
            Kind::Introduce => {
                let [domid, gfn, port] = texts(payload)?;
                Self::Introduce { domid: number(domid)?, gfn: number(gfn)?, port: number(port)? }
            }
            Kind::Release => Self::Release(only_domid(payload)?),
            Kind::GetDomainPath => Self::GetDomainPath(only_domid(payload)?),
            Kind::Write => {
                let (path, value) = first_text(payload)?;
                Self::Write { path: Path::new(path)?, value }
            }
            Kind::Mkdir => Self::Mkdir(only_path(payload)?),
            Kind::Remove => Self::Remove(only_path(payload)?),
            Kind::SetPerms => {
                let (path, list) = first_text(payload)?;
                let list = list.strip_suffix(b"\0")?;
                let access = list.split(|byte| *byte == 0).map(NodeAccess::parse);
                Self::SetPerms { path: Path::new(path)?, access: access.collect::<Option<_>>()? }
            }
            Kind::IsDomainIntroduced => Self::IsDomainIntroduced(only_domid(payload)?),
            Kind::Resume => Self::Resume(only_domid(payload)?),
            Kind::SetTarget => {
                let [domid, target] = texts(payload)?;
                Self::SetTarget { domid: number(domid)?, target: number(target)? }
            }
            Kind::ResetWatches => Self::ResetWatches,
            Kind::Control | Kind::WatchEvent | Kind::Error => return None,
        })
    }
}

/// Splits the payload at its first zero byte.
fn first_text(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = payload.iter().position(|byte| *byte == 0)?;
    Some((&payload[..end], &payload[end + 1..]))
}

/// Reads a payload of exactly `COUNT` texts, each followed by a zero byte.
fn texts<const COUNT: usize>(payload: &[u8]) -> Option<[&[u8]; COUNT]> {
    let mut texts = [&[][..]; COUNT];
    let mut rest = payload;
    for text in &mut texts {
        (*text, rest) = first_text(rest)?;
    }
    rest.is_empty().then_some(texts)
}

fn only_path(payload: &[u8]) -> Option<Path<'_>> {
    let [path] = texts(payload)?;
    Path::new(path)
}

fn only_domid(payload: &[u8]) -> Option<u16> {
    let [domid] = texts(payload)?;
    number(domid)
}

fn watch(payload: &[u8]) -> Option<(Path<'_>, &[u8])> {
    let [path, token] = texts(payload)?;
    Some((Path::new(path)?, token))
}
