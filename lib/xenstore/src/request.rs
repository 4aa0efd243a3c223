//! The server's half: requests, as they are read.

use crate::access::number;
use crate::{ErrorName, Frame, Kind, NodeAccess, Path};

/// What a client asks for.
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
        /// What the client knows the watch by.
        token: &'a [u8],
    },
    /// End a watch.
    Unwatch {
        /// The node.
        path: Path<'a>,
        /// What the client knows the watch by.
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
    /// Write a node's value, and create what is missing above it.
    Write {
        /// The node.
        path: Path<'a>,
        /// Any bytes.
        value: &'a [u8],
    },
    /// Create a node, if it is not there.
    Mkdir(Path<'a>),
    /// Remove a node and all below it.
    Remove(Path<'a>),
    /// Set a node's permissions: the owner first, at least that.
    SetPerms {
        /// The node.
        path: Path<'a>,
        /// Who may do what.
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
    /// The protocol has no such kind, or only servers send it, or only administrators do.
    #[error("a XenStore message of kind {kind} is not a request")]
    Kind {
        /// The header's word.
        kind: u32,
    },
    /// The payload is not that of such a request.
    #[error("a XenStore request to {} has a malformed payload", kind.verb())]
    Payload {
        /// What the message is.
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
    /// Reads a request. Which transaction it belongs to stands in the frame's header.
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

/// Cuts the payload after its first zero byte.
fn first_text(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = payload.iter().position(|byte| *byte == 0)?;
    Some((&payload[..end], &payload[end + 1..]))
}

/// Reads a payload of exactly so many texts, each with a zero byte behind it.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Header;

    fn parse(kind: u32, payload: &[u8]) -> Result<Request<'_>, Malformed> {
        let length = u32::try_from(payload.len()).unwrap();
        let header = Header { kind, request: 0, transaction: 0, length };
        Request::parse(&Frame { header, payload })
    }

    fn path(text: &str) -> Path<'_> {
        Path::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn each_kind_of_request_is_read() {
        let access = NodeAccess::parse;
        let perms = vec![access(b"n0").unwrap(), access(b"r7").unwrap()];
        for (kind, payload, request) in [
            (Kind::Directory, &b"/a\0"[..], Request::Directory(path("/a"))),
            (Kind::DirectoryPart, b"a\x00512\0", Request::DirectoryPart(path("a"), 512)),
            (Kind::GetPerms, b"a\0", Request::GetPerms(path("a"))),
            (Kind::Unwatch, b"@x\0t t\0", Request::Unwatch { path: path("@x"), token: b"t t" }),
            (Kind::Watch, b"a\0\0", Request::Watch { path: path("a"), token: b"" }),
            (Kind::Release, b"3\0", Request::Release(3)),
            (Kind::GetDomainPath, b"3\0", Request::GetDomainPath(3)),
            (Kind::Write, b"a\0", Request::Write { path: path("a"), value: b"" }),
            (Kind::Write, b"a\0b\0c", Request::Write { path: path("a"), value: b"b\0c" }),
            (Kind::Remove, b"a\0", Request::Remove(path("a"))),
            (Kind::SetPerms, b"a\0n0\0r7\0", Request::SetPerms { path: path("a"), access: perms }),
            (Kind::IsDomainIntroduced, b"3\0", Request::IsDomainIntroduced(3)),
            (Kind::Resume, b"3\0", Request::Resume(3)),
            (Kind::SetTarget, b"3\x004\0", Request::SetTarget { domid: 3, target: 4 }),
            (Kind::ResetWatches, b"\0", Request::ResetWatches),
        ] {
            assert_eq!(parse(kind as u32, payload), Ok(request), "{kind:?}");
        }
    }

    #[test]
    fn what_is_not_a_request_has_its_error() {
        for kind in [0, 15, 16, 20, 99] {
            let error = parse(kind, b"/a\0").unwrap_err();
            assert_eq!(error.name(), ErrorName::NotSupported, "{kind}");
        }
        for (kind, payload) in [
            (Kind::Read, &b""[..]),
            (Kind::Read, b"/a"),
            (Kind::Read, b"/a\0b\0"),
            (Kind::Read, b"/a b\0"),
            (Kind::Write, b"/a"),
            (Kind::Watch, b"/a\0t"),
            (Kind::SetPerms, b"/a\0"),
            (Kind::SetPerms, b"/a\0n0"),
            (Kind::SetPerms, b"/a\0x0\0"),
            (Kind::Introduce, b"3\x001\0"),
            (Kind::Introduce, b"65536\x001\x001\0"),
            (Kind::TransactionEnd, b"X\0"),
            (Kind::TransactionEnd, b""),
        ] {
            let error = parse(kind as u32, payload);
            assert_eq!(error, Err(Malformed::Payload { kind }), "{payload:?}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_does_harm(
            kind in 0u32..25,
            payload in proptest::collection::vec(
                prop_oneof![Just(0u8), Just(b'/'), Just(b'n'), Just(b'1'), any::<u8>()], 0..40),
        ) {
            let _ = parse(kind, &payload);
        }
    }
}
