// SPDX-License-Identifier: GPL-3.0-or-later
//! Descriptors whose last close takes long: sockets that linger, because their peer does not read.

use std::io::{ErrorKind, IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use chaos::clients::chaosd::protocol::{self, Request};
use chaosd::member_server::{MAX_THREADS, MEMBER_CLIENTS};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::Linger;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt};

use super::bed::{Bed, MEMBER, POOL, as_member, assert_closed, put};
use super::members::{decode as receive, take_all_places, until};

/// The longest time that a request of root may take meanwhile.
const SOON: Duration = Duration::from_secs(1);

/// Sockets whose last close waits until this is dropped, for 30 seconds at most.
struct Lingering {
    listener: TcpListener,
}

impl Lingering {
    fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    /// Returns a connection that is full, because it is never accepted.
    fn socket(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let full = loop {
            if let Err(error) = stream.write_all(&[0; 1 << 16]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        stream.set_nonblocking(false).unwrap();
        let linger = libc::linger { l_onoff: 1, l_linger: 30 };
        setsockopt(&stream, Linger, &linger).unwrap();
        stream
    }
}

/// Sends a packet with a socket, of which the packet has the only reference then: the server must
/// be busy with another request of the client, so that it receives the packet later.
fn pass(client: &OwnedFd, socket: TcpStream) {
    let packet = protocol::encode(&Request::Drain).unwrap();
    let fds = [socket.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let parts = [IoSlice::new(&packet)];
    sendmsg::<()>(client.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None).unwrap();
    let start = Instant::now();
    drop(socket);
    assert!(start.elapsed() < SOON, "another reference is left, so this close does not linger");
}

/// Asserts that root's requests are answered soon.
#[track_caller]
fn assert_serves_soon(bed: &Bed) {
    let start = Instant::now();
    (0..20).for_each(|_| bed.assert_serves());
    assert!(start.elapsed() < SOON, "root has waited {:?}", start.elapsed());
}

/// Keeps the main thread busy while an action runs.
fn while_busy(bed: &Bed, action: impl FnOnce()) {
    let root = bed.raw();
    let resize = Request::Resize { flavour: "a".into(), low: 1, high: 2 };
    put(&root, &protocol::encode(&resize).unwrap()).unwrap();
    bed.open_gate();
    action();
    bed.open_gate();
}

fn ask(client: &OwnedFd) {
    put(client, &protocol::encode(&POOL).unwrap()).unwrap();
}

#[test]
fn a_socket_that_lingers_when_it_is_received_stops_no_other_client() {
    let (bed, lingering) = (Bed::new(), Lingering::new());
    let Some(client) = as_member(MEMBER, || bed.raw()) else { return };
    while_busy(&bed, || {
        ask(&client);
        pass(&client, lingering.socket());
    });
    assert_serves_soon(&bed);
    let other = as_member(MEMBER + 1, || bed.connect()).unwrap();
    assert!(other.ask(&POOL, &[]).is_ok());
    assert_lingers(&client);
    drop(lingering);
    // After the reply to the first request.
    receive(&client);
    assert_closed(&client);
}

#[test]
fn a_socket_that_lingers_and_is_never_received_stops_no_other_client() {
    let (bed, lingering) = (Bed::new(), Lingering::new());
    let Some(client) = as_member(MEMBER, || bed.raw()) else { return };
    while_busy(&bed, || {
        ask(&client);
        // The connection ends with this packet, before the next one is received.
        put(&client, b"nothing").unwrap();
        pass(&client, lingering.socket());
    });
    assert_serves_soon(&bed);
    let other = as_member(MEMBER, || bed.connect()).unwrap();
    assert!(other.ask(&POOL, &[]).is_ok());
}

#[test]
fn sockets_that_linger_in_all_places_leave_root_its_own() {
    let (bed, lingering) = (Bed::new(), Lingering::new());
    let Some(clients) = take_all_places(&bed) else { return };
    while_busy(&bed, || {
        for client in &clients {
            ask(client);
            pass(client, lingering.socket());
        }
    });
    assert_serves_soon(&bed);
    // Others still get the places that the six users have more than they, as long as there are
    // threads.
    let others: Vec<_> = (0..MAX_THREADS - MEMBER_CLIENTS)
        .map(|number| {
            let uid = MEMBER + 100 + u32::try_from(number).unwrap();
            let other = as_member(uid, || bed.connect()).unwrap();
            assert!(other.ask(&POOL, &[]).is_ok(), "{uid}");
            other
        })
        .collect();
    let waits: Vec<_> = (0..30).map(|_| as_member(MEMBER + 200, || bed.raw()).unwrap()).collect();
    assert_serves_soon(&bed);
    assert_lingers(&clients[0]);
    // Members are served again when the sockets are closed.
    drop((lingering, waits, others));
    let served = until(|| {
        let member = as_member(MEMBER + 300, || bed.connect()).unwrap();
        member.ask(&POOL, &[]).ok()
    });
    assert!(served.is_some());
}

/// Asserts that the server has not closed a connection.
#[track_caller]
fn assert_lingers(client: &OwnedFd) {
    let mut fds = [PollFd::new(client.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).unwrap();
    let events = fds[0].revents().unwrap();
    assert!(!events.contains(PollFlags::POLLHUP), "the socket does not linger");
}
