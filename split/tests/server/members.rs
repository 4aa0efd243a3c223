// SPDX-License-Identifier: GPL-3.0-or-later
//! Users other than root, who may be hostile.

use std::io::{IoSlice, Read, Seek, Write, pipe};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use chaos::clients::chaosd::client::{Chaosd, DaemonError, UploadError};
use chaos::clients::chaosd::protocol::{self, Reply, Request};
use chaosd::member_server::MEMBER_CLIENTS;
use chaosd::settings::MemberLimits;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, recv, sendmsg};
use xen::units::KiB;

use super::bed::{Bed, MEMBER, POOL, as_member, assert_closed, put};

/// Returns the message of a refusal.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: Result<T, DaemonError>) -> String {
    match result {
        Err(DaemonError::Refused(refusal)) => refusal.message,
        other => panic!("{other:?}"),
    }
}

fn file(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

#[test]
fn a_members_descriptors_are_never_opened() {
    let bed = Bed::new();
    let (mut reader, writer) = pipe().unwrap();
    let Some(client) = as_member(MEMBER, || bed.raw()) else { return };
    let packet = protocol::encode(&Request::Drain).unwrap();
    let fds = [writer.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let parts = [IoSlice::new(&packet)];
    sendmsg::<()>(client.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).unwrap();
    drop(writer);
    assert_closed(&client);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "no process has the pipe open");
    assert_eq!(bed.served(), 0);
    bed.assert_serves();
}

#[test]
fn a_member_uploads_the_files_of_a_create_and_each_request_takes_its_own() {
    let bed = Bed::new();
    let (kernel, ramdisk) = (vec![1; 100_000], vec![2; 5]);
    let Some(client) = as_member(MEMBER, || bed.connect()) else { return };
    for _ in 0..3 {
        client.upload(&file(&kernel), 100_000).unwrap();
        client.upload(&file(&ramdisk), 5).unwrap();
        let message = refusal(client.ask(&Request::Drain, &[]));
        assert_eq!(message, format!("user {MEMBER} uploaded [100000, 5]"));
    }
    let message = refusal(client.ask(&Request::Drain, &[]));
    assert_eq!(message, format!("user {MEMBER} uploaded []"));
    let shorter = client.upload(&file(b"four"), 5);
    assert!(matches!(shorter, Err(UploadError::Read(_))), "{shorter:?}");
    bed.assert_serves();
}

#[test]
fn what_a_member_uploads_is_limited_and_freed_with_the_connection() {
    let bed = Bed::with(MemberLimits { files: KiB(64), ..MemberLimits::default() });
    let Some(first) = as_member(MEMBER, || bed.connect()) else { return };
    first.upload(&file(&[1; 60_000]), 60_000).unwrap();
    let second = as_member(MEMBER, || bed.connect()).unwrap();
    let message = refusal(second.ask(&Request::Upload { length: 6000 }, &[]));
    assert!(message.contains("chaosd holds 59 KiB of files for user 61234, and at most 64 KiB"));
    let other = as_member(MEMBER + 1, || bed.connect()).unwrap();
    other.upload(&file(&[1; 60_000]), 60_000).unwrap();
    drop(first);
    // Its thread frees the file when it notices the end.
    let freed = until(|| second.upload(&file(&[1; 60_000]), 60_000).ok());
    assert!(freed.is_some());
}

#[test]
fn what_the_service_no_longer_needs_is_freed_before_the_next_upload() {
    let bed = Bed::with(MemberLimits { files: KiB(64), ..MemberLimits::default() });
    let Some(client) = as_member(MEMBER, || bed.connect()) else { return };
    for _ in 0..3 {
        client.upload(&file(&[1; 60_000]), 60_000).unwrap();
        let message = refusal(client.ask(&Request::Drain, &[]));
        assert_eq!(message, format!("user {MEMBER} uploaded [60000]"));
    }
    let root = bed.connect();
    let message = refusal(root.ask(&Request::Upload { length: 4 }, &[]));
    assert_eq!(message, "root passes the files of a create as descriptors");
}

#[test]
fn a_member_that_stops_in_an_upload_or_sends_too_much_harms_only_itself() {
    let bed = Bed::new();
    let Some(clients) = as_member(MEMBER, || [bed.raw(), bed.raw(), bed.raw()]) else { return };
    let upload = protocol::encode(&Request::Upload { length: 100 }).unwrap();
    for client in &clients {
        put(client, &upload).unwrap();
        assert_eq!(decode(client), Reply::Done);
        put(client, &[1; 60]).unwrap();
    }
    let [silent, ends, sends_more] = clients;
    drop(ends);
    put(&sends_more, &[1; 60]).unwrap();
    assert_closed(&sends_more);
    bed.assert_serves();
    put(&silent, &[1; 40]).unwrap();
    assert_eq!(decode(&silent), Reply::Done, "it may be slow");
}

pub(crate) fn decode(client: &OwnedFd) -> Reply {
    let mut buffer = [0; 256];
    let length = recv(client.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
    protocol::decode(&buffer[..length]).unwrap()
}

#[test]
fn a_member_has_a_share_of_the_connections_and_is_told_so() {
    let bed = Bed::with(MemberLimits { connections: 2, ..MemberLimits::default() });
    let root = bed.raw();
    let connect = || bed.connect();
    let Some([one, two]) = as_member(MEMBER, || [connect(), connect()]) else { return };
    assert!(one.ask(&POOL, &[]).is_ok() && two.ask(&POOL, &[]).is_ok());
    let third = as_member(MEMBER, connect).unwrap();
    let message = refusal(third.ask(&POOL, &[]));
    assert!(message.starts_with("user 61234 has 2 connections to chaosd, and may have 2"));
    assert!(as_member(MEMBER + 1, connect).unwrap().ask(&POOL, &[]).is_ok());
    drop(one);
    assert!(two.ask(&POOL, &[]).is_ok());
    // The place is free when its thread has noticed the end.
    let free = until(|| as_member(MEMBER, connect).unwrap().ask(&POOL, &[]).ok());
    assert!(free.is_some());
    put(&root, &protocol::encode(&POOL).unwrap()).unwrap();
    assert!(matches!(decode(&root), Reply::Pool { .. }));
}

#[test]
fn a_subordinate_user_is_refused_and_root_does_not_need_the_file() {
    let bed = Bed::new();
    let connect = || bed.connect();
    // As useradd allots them: in a user namespace, user 61234 can be each of these.
    std::fs::write(&bed.subordinate_users, format!("{MEMBER}:700000:65536\n")).unwrap();
    for uid in [700_000, 765_535] {
        let Some(client) = as_member(uid, connect) else { return };
        let message = refusal(client.ask(&POOL, &[]));
        let expected = format!("user {uid} is a subordinate user of {MEMBER} (");
        assert!(message.starts_with(&expected), "{message}");
    }
    for uid in [MEMBER, 699_999, 765_536] {
        assert!(as_member(uid, connect).unwrap().ask(&POOL, &[]).is_ok(), "{uid}");
    }
    std::fs::remove_file(&bed.subordinate_users).unwrap();
    std::fs::create_dir(&bed.subordinate_users).unwrap();
    let message = refusal(as_member(MEMBER, connect).unwrap().ask(&POOL, &[]));
    assert!(message.contains("subuid: not a regular file; ask root"), "{message}");
    bed.assert_serves();
}

/// Takes all places of members: eight each of six users.
pub(crate) fn take_all_places(bed: &Bed) -> Option<Vec<OwnedFd>> {
    take_places(bed, MEMBER_CLIENTS)
}

fn take_places(bed: &Bed, count: usize) -> Option<Vec<OwnedFd>> {
    let connect = |number: usize| {
        let uid = MEMBER + u32::try_from(number / 8).unwrap();
        as_member(uid, || bed.raw())
    };
    (0..count).map(connect).collect()
}

#[test]
fn members_together_leave_places_for_root() {
    let bed = Bed::new();
    let root = bed.raw();
    let Some(members) = take_all_places(&bed) else { return };
    // The main thread is busy, so that all members have a request in progress.
    let resize = Request::Resize { flavour: "a".into(), low: 1, high: 2 };
    put(&root, &protocol::encode(&resize).unwrap()).unwrap();
    bed.open_gate();
    for member in &members {
        put(member, &protocol::encode(&POOL).unwrap()).unwrap();
    }
    // A thread that is about to note its request may still lose its place, but not its request.
    // Who gets the place keeps it, so that the user's next connection is refused.
    let mut admitted = Vec::new();
    let refused = (0..7).find_map(|_| {
        let last = as_member(MEMBER + 100, || bed.raw()).unwrap();
        let mut fds = [PollFd::new(last.as_fd(), PollFlags::POLLIN)];
        let is_refused = poll(&mut fds, 500u16).is_ok_and(|ready| ready > 0);
        match is_refused {
            true => Some(last),
            false => {
                admitted.push(last);
                None
            }
        }
    });
    bed.open_gate();
    let Reply::Refused(refusal) = decode(&refused.unwrap()) else { panic!("not refused") };
    let message = refusal.message;
    assert!(message.starts_with("users other than root have 48 connections"), "{message}");
    assert_eq!(decode(&root), Reply::Done, "it is still connected");
    for member in &members {
        assert!(matches!(decode(member), Reply::Pool { .. }), "none was ended");
    }
    bed.assert_serves();
}

#[test]
fn a_user_with_fewer_connections_gets_a_place_of_the_one_with_most() {
    let bed = Bed::with(MemberLimits { connections: 9, ..MemberLimits::default() });
    let Some(members) = take_places(&bed, MEMBER_CLIENTS - 1) else { return };
    // One user has nine, another one seven. The first of the nine was not silent longest.
    let more = as_member(MEMBER + 1, || bed.raw()).unwrap();
    put(&members[8], &protocol::encode(&POOL).unwrap()).unwrap();
    assert!(matches!(decode(&members[8]), Reply::Pool { .. }));
    let new = as_member(MEMBER + 100, || bed.connect()).unwrap();
    assert!(new.ask(&POOL, &[]).is_ok());
    assert_closed(&members[9]);
    for other in members[..9].iter().chain(&members[10..]).chain([&more]) {
        put(other, &protocol::encode(&POOL).unwrap()).unwrap();
        assert!(matches!(decode(other), Reply::Pool { .. }));
    }
}

#[test]
fn what_members_have_sent_before_the_end_is_answered() {
    let bed = Bed::new();
    let root = bed.raw();
    let Some(member) = as_member(MEMBER, || bed.raw()) else { return };
    let resize = Request::Resize { flavour: "a".into(), low: 1, high: 2 };
    put(&root, &protocol::encode(&resize).unwrap()).unwrap();
    bed.open_gate();
    for _ in 0..5 {
        put(&member, &protocol::encode(&POOL).unwrap()).unwrap();
    }
    bed.stop();
    // It connects, and asks, while the server is busy with what came before.
    let late = as_member(MEMBER + 1, || bed.raw()).unwrap();
    put(&late, &protocol::encode(&POOL).unwrap()).unwrap();
    bed.open_gate();
    for client in [&member, &member, &member, &member, &member, &late] {
        assert!(matches!(decode(client), Reply::Pool { .. }));
    }
    assert_closed(&member);
    assert_closed(&late);
}

#[test]
fn root_uses_the_socket_of_root() {
    let bed = Bed::new();
    let socket = chaos::clients::chaosd::members_socket(&bed.path);
    let root = Chaosd::connect(&socket).unwrap();
    let message = refusal(root.ask(&POOL, &[]));
    assert!(message.starts_with("root connects to /run/chaos/chaosd.sock"), "{message}");
}

/// Tries an action for ten seconds, until it returns something.
pub(crate) fn until<T>(action: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + Duration::from_secs(10);
    std::iter::repeat_with(action).take_while(|_| Instant::now() < deadline).flatten().next()
}
