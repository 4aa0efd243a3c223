// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests as a server reads them, byte by byte.
#![allow(clippy::unwrap_used)] // A test ends with a panic.

use proptest::prelude::*;
use xenstore::{ErrorName, Frame, Header, Kind, Malformed, NodeAccess, Path, Request};

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
fn a_message_that_is_not_a_request_has_its_error() {
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
    fn any_payload_is_parsed_without_a_panic(
        kind in 0u32..25,
        payload in proptest::collection::vec(
            prop_oneof![Just(0u8), Just(b'/'), Just(b'n'), Just(b'1'), any::<u8>()], 0..40),
    ) {
        let _ = parse(kind, &payload);
    }
}
