// SPDX-License-Identifier: GPL-3.0-or-later
//! The server over real sockets, without Xen: a client that misbehaves harms only itself.
// A test ends with a panic, and says what it could not test.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod bed;
mod fuse;
mod lingering;
mod members;

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};

use bed::{Bed, LATER, POOL, assert_closed, pool_reply, put};
use chaos::clients::chaosd::client::{Chaosd, DaemonError};
use chaos::clients::chaosd::protocol::{self, MAX_PACKET, Reply, Request};
use chaosd::server::MAX_CLIENTS;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, recv, sendmsg};

#[test]
fn many_requests_over_one_connection_are_answered_in_order() {
    let bed = Bed::new();
    let client = bed.raw();
    let requests = [POOL, Request::Resize { flavour: "a".into(), low: 1, high: 2 }];
    for request in requests.iter().cycle().take(20) {
        put(&client, &protocol::encode(request).unwrap()).unwrap();
    }
    (0..20).for_each(|_| bed.open_gate());
    for number in 0..20 {
        let mut buffer = [0; 64];
        let length = recv(client.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        let wanted = if number % 2 == 0 { pool_reply() } else { Reply::Done };
        assert_eq!(protocol::decode::<Reply>(&buffer[..length]).unwrap(), wanted);
    }
    assert_eq!(bed.served(), 20);
}

#[test]
fn a_client_that_sends_anything_but_a_request_is_disconnected() {
    let bed = Bed::new();
    let good = protocol::encode(&POOL).unwrap();
    let mut other_version = good.clone();
    other_version[0] ^= 0xff;
    let mut longer = good.clone();
    longer.push(0);
    let resize = Request::Resize { flavour: "abc".into(), low: 1, high: 2 };
    let resize = protocol::encode(&resize).unwrap();
    let malformed: Vec<Vec<u8>> = vec![
        vec![0],
        good[..1].to_vec(),
        other_version,
        longer,
        vec![good[0], 0xff, 0xff, 0xff],
        resize[..resize.len() - 1].to_vec(),
        vec![0x55; MAX_PACKET],
        vec![0x55; MAX_PACKET + 1],
        vec![0x55; 4 * MAX_PACKET],
    ];
    for packet in malformed {
        let (client, neighbour) = (bed.raw(), Chaosd::connect(&bed.path).unwrap());
        put(&client, &packet).unwrap();
        assert_closed(&client);
        assert!(neighbour.ask(&POOL, &[]).is_ok(), "{} bytes", packet.len());
    }
    assert_eq!(bed.served(), 9, "only the neighbours");
}

#[test]
fn silent_clients_block_no_other_client_and_are_evicted() {
    let bed = Bed::new();
    let active = Chaosd::connect(&bed.path).unwrap();
    active.ask(&POOL, &[]).unwrap();
    let silent: Vec<OwnedFd> = (0..MAX_CLIENTS - 1).map(|_| bed.raw()).collect();
    active.ask(&POOL, &[]).unwrap();
    // A client that never sent anything is evicted.
    bed.assert_serves();
    assert_closed(&silent[0]);
    active.ask(&POOL, &[]).unwrap();
    drop(silent);
    bed.assert_serves();
}

#[test]
fn a_client_that_does_not_read_its_replies_is_disconnected() {
    let bed = Bed::new();
    let client = bed.raw();
    let request = protocol::encode(&POOL).unwrap();
    // The replies fill the socket's buffer; then the connection is closed. No buffer has room for
    // this many requests.
    let refused = (0..1_000_000).find_map(|_| put(&client, &request).err());
    assert!(matches!(refused, Some(Errno::EPIPE | Errno::ECONNRESET)), "{refused:?}");
    bed.assert_serves();
}

#[test]
fn a_client_may_disconnect_before_its_reply() {
    let bed = Bed::new();
    for _ in 0..100 {
        put(&bed.raw(), &protocol::encode(&POOL).unwrap()).unwrap();
    }
    bed.assert_serves();
}

#[test]
fn files_arrive_with_a_request_and_are_closed() {
    let bed = Bed::new();
    let client = bed.raw();
    let file = File::open("/dev/null").unwrap();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let packet = protocol::encode(&Request::Drain).unwrap();
    let answer = format!("{} files from process {}", 200, std::process::id());
    for _ in 0..20 {
        let fds = [file.as_raw_fd(); 200];
        let rights = [ControlMessage::ScmRights(&fds)];
        let parts = [IoSlice::new(&packet)];
        let fd = client.as_raw_fd();
        sendmsg::<()>(fd, &parts, &rights, MsgFlags::empty(), None).unwrap();
        let mut buffer = [0; 256];
        let length = recv(fd, &mut buffer, MsgFlags::empty()).unwrap();
        match protocol::decode::<Reply>(&buffer[..length]).unwrap() {
            Reply::Refused(refusal) => assert_eq!(refusal.message, answer),
            other => panic!("{other:?}"),
        }
    }
    // Tests that run at the same time also open files, but not thousands.
    let after = open();
    assert!(after < before + 1000, "{before} files were open, and {after} are");
}

#[test]
fn the_client_reports_a_daemon_that_is_not_running() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Chaosd::connect(&folder.path().join("socket"));
    assert!(matches!(refused, Err(DaemonError::NotRunning { .. })));
}

#[test]
fn a_client_that_waits_for_its_reply_is_not_evicted_by_new_connections() {
    let bed = Bed::new();
    let resize = Request::Resize { flavour: "a".into(), low: 1, high: 2 };
    let ask = |client: &OwnedFd, request| put(client, &protocol::encode(request).unwrap()).unwrap();
    // All places are taken, and this client has been silent longest.
    let waiting = bed.raw();
    let others: Vec<_> = (0..MAX_CLIENTS - 1).map(|_| bed.raw()).collect();
    for other in &others {
        ask(other, &POOL);
        reply(other);
    }
    // While the server is busy, the silent one sends a request, and a new client connects.
    ask(&others[0], &resize);
    bed.open_gate();
    ask(&waiting, &POOL);
    let _new = bed.raw();
    bed.open_gate();
    assert_eq!(reply(&others[0]), Reply::Done);
    assert_eq!(reply(&waiting), pool_reply());
    assert_closed(&others[1]);
}

#[test]
fn a_client_whose_reply_comes_later_delays_no_other_and_is_not_evicted() {
    let bed = Bed::new();
    let ask = |client: &OwnedFd, request| put(client, &protocol::encode(request).unwrap()).unwrap();
    let waiting = bed.raw();
    let later = Request::Resize { flavour: LATER.into(), low: 1, high: 2 };
    ask(&waiting, &later);
    // Its next request waits for the first reply.
    ask(&waiting, &POOL);
    let others: Vec<_> = (0..MAX_CLIENTS + 5).map(|_| bed.raw()).collect();
    let last = others.last().unwrap();
    ask(last, &POOL);
    assert_eq!(reply(last), pool_reply());
    assert_eq!(reply(&waiting), Reply::Done);
    assert_eq!(reply(&waiting), pool_reply());
    assert_closed(&others[0]);
    // One that disconnects while it waits.
    let gone = bed.raw();
    ask(&gone, &later);
    drop(gone);
    bed.assert_serves();
    bed.assert_serves();
}

#[track_caller]
fn reply(client: &OwnedFd) -> Reply {
    let mut buffer = [0; 64];
    let length = recv(client.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
    protocol::decode(&buffer[..length]).unwrap()
}
