// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two halves against each other: what one writes, the other reads.
#![allow(clippy::unwrap_used)] // A test ends with a panic.

use proptest::prelude::*;
use xenstore::{
    Access, Batch, ErrorName, Frame, Header, Kind, Message, NodeAccess, Path, Permission, Reply,
    Request, write_event,
};

/// A request that a client sends.
#[derive(Clone, Debug)]
enum Sent {
    Start,
    End { commit: bool },
    Read(String),
    Write(String, String),
    Make(String, Permission),
    Introduce(u16, u64, u32),
    Watch(String, String),
}

fn path() -> impl Strategy<Value = String> {
    "(/[a-zA-Z0-9_@-]{1,8}){1,4}"
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        Just(Sent::Start),
        any::<bool>().prop_map(|commit| Sent::End { commit }),
        path().prop_map(Sent::Read),
        (path(), "[^\0]{0,20}").prop_map(|(path, value)| Sent::Write(path, value)),
        (path(), any::<u16>()).prop_map(|(path, owner)| Sent::Make(path, Permission::Owner(owner))),
        (path(), any::<u16>(), any::<u16>()).prop_map(|(path, owner, reader)| {
            Sent::Make(path, Permission::ReadableBy(owner, reader))
        }),
        any::<(u16, u64, u32)>().prop_map(|(domid, gfn, port)| Sent::Introduce(domid, gfn, port)),
        (path(), "[^\0]{0,20}").prop_map(|(path, token)| Sent::Watch(path, token)),
    ]
}

/// Adds a request to a batch, and returns what the server must read, with the transaction.
fn add<'a>(batch: &mut Batch, inside: u32, sent: &'a Sent) -> Vec<(u32, Request<'a>)> {
    let path = |text: &'a str| Path::new(text.as_bytes()).unwrap();
    match sent {
        Sent::Start => {
            batch.start_transaction();
            vec![(0, Request::TransactionStart)]
        }
        Sent::End { commit } => {
            if *commit {
                batch.commit();
            } else {
                batch.abort();
            }
            vec![(inside, Request::TransactionEnd { commit: *commit })]
        }
        Sent::Read(text) => {
            batch.read(text);
            vec![(inside, Request::Read(path(text)))]
        }
        Sent::Write(text, value) => {
            batch.write(text, value);
            let value = value.as_bytes();
            vec![(inside, Request::Write { path: path(text), value })]
        }
        Sent::Make(text, permission) => {
            batch.make(text, *permission);
            let entry = |domid, access| NodeAccess { domid, access };
            let access = match *permission {
                Permission::Owner(owner) => vec![entry(owner, Access::None)],
                Permission::ReadableBy(owner, reader) => {
                    vec![entry(owner, Access::None), entry(reader, Access::Read)]
                }
            };
            let path = path(text);
            vec![(inside, Request::Mkdir(path)), (inside, Request::SetPerms { path, access })]
        }
        Sent::Introduce(domid, gfn, port) => {
            batch.introduce(*domid, *gfn, *port);
            vec![(0, Request::Introduce { domid: *domid, gfn: *gfn, port: *port })]
        }
        Sent::Watch(text, token) => {
            batch.watch(text, token);
            vec![(0, Request::Watch { path: path(text), token: token.as_bytes() })]
        }
    }
}

proptest! {
    #[test]
    fn the_server_reads_what_the_client_writes(
        inside in any::<u32>(),
        all in proptest::collection::vec(sent(), 0..10),
    ) {
        let mut batch = Batch::inside(inside);
        let expected: Vec<_> = all.iter().flat_map(|one| add(&mut batch, inside, one)).collect();
        let mut rest = batch.bytes();
        for (number, (transaction, request)) in (0..).zip(&expected) {
            let (frame, after) = Frame::split(rest).unwrap().unwrap();
            prop_assert_eq!(frame.header.request, number);
            prop_assert_eq!(frame.header.transaction, *transaction);
            prop_assert_eq!(&Request::parse(&frame).unwrap(), request);
            rest = after;
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(batch.kinds().len(), expected.len());
    }

    #[test]
    fn the_client_reads_what_the_server_writes(
        request in any::<u32>(),
        transaction in any::<u32>(),
        value in "[^\0]{0,40}",
        path in path(),
        token in "[^\0]{0,20}",
    ) {
        let to = Header { kind: Kind::Read as u32, request, transaction, length: 0 };
        let mut bytes = Vec::new();
        Reply::Value(value.as_bytes()).write(to, &mut bytes).unwrap();
        write_event(&path, token.as_bytes(), &mut bytes).unwrap();
        Reply::Error(ErrorName::Again).write(to, &mut bytes).unwrap();
        prop_assert_eq!(&bytes[4..12], &[request.to_le_bytes(), transaction.to_le_bytes()].concat());

        let mut stream = &bytes[..];
        let message = Message::read_from(&mut stream).unwrap();
        prop_assert!(message.is(Kind::Read));
        prop_assert_eq!(message.text(), value.as_str());
        let event = Message::read_from(&mut stream).unwrap();
        prop_assert!(event.is(Kind::WatchEvent));
        prop_assert_eq!(event.text(), path.as_str());
        let expected = format!("{path}\0{token}\0");
        prop_assert_eq!(event.payload(), expected.as_bytes());
        let error = Message::read_from(&mut stream).unwrap();
        prop_assert!(error.is(Kind::Error));
        prop_assert_eq!(error.text(), "EAGAIN");
        prop_assert!(stream.is_empty());
    }
}
