// SPDX-License-Identifier: GPL-3.0-or-later
//! The server over real sockets, without Xen: a client that misbehaves harms only itself.
#![allow(clippy::unwrap_used)] // A test ends with a panic.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use chaos::clients::chaosd::client::{Chaosd, DaemonError};
use chaos::clients::chaosd::protocol::{self, MAX_PACKET, Refusal, Reply, Request};
use chaos::failure::FailureClass;
use chaos::timings::Timings;
use chaosd::server::{FIRST_CLIENT, LISTENER, MAX_CLIENTS, Peer, Serve, Server};
use daemon::listener;
use mio::{Events, Poll, Token, Waker};
use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send,
    sendmsg, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use tempfile::TempDir;

const STOP: Token = Token(1);

/// Counts requests, and replies to `Drain` with the number of files and the sender's process ID.
struct Counting {
    served: Arc<AtomicUsize>,
}

impl Serve for Counting {
    fn serve(&mut self, peer: Peer, request: Request, files: Vec<OwnedFd>, _: Timings) -> Reply {
        self.served.fetch_add(1, Ordering::Relaxed);
        match request {
            Request::Pool => Reply::Pool(Vec::new()),
            Request::Drain => {
                let message = format!("{} files from process {}", files.len(), peer.pid);
                Reply::Refused(Refusal { class: FailureClass::Failed, message })
            }
            _ => Reply::Done,
        }
    }
}

/// A server in a thread of its own.
struct Bed {
    path: PathBuf,
    served: Arc<AtomicUsize>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = listener::listen(&path, None).unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), STOP).unwrap();
        let service = Counting { served: Arc::clone(&served) };
        let thread = Some(thread::spawn(move || serve(poll, listener, service)));
        Self { path, served, waker, thread, _folder: folder }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    fn raw(&self) -> OwnedFd {
        let client =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&client, ReceiveTimeout, &TimeVal::seconds(10)).unwrap();
        connect(client.as_raw_fd(), &UnixAddr::new(&self.path).unwrap()).unwrap();
        client
    }

    /// Asserts that another client is served.
    #[track_caller]
    fn assert_serves(&self) {
        let reply = Chaosd::connect(&self.path).unwrap().ask(&Request::Pool, &[]).unwrap();
        assert_eq!(reply, Reply::Pool(Vec::new()));
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.waker.wake().unwrap();
        let joined = self.thread.take().unwrap().join();
        assert!(joined.is_ok() || thread::panicking(), "the server has panicked");
    }
}

/// The loop of `chaosd`, without the parts that need Xen.
fn serve(mut poll: Poll, listener: UnixListener, mut service: Counting) {
    let registry = poll.registry().try_clone().unwrap();
    let mut server = Server::new(listener, registry).unwrap();
    let mut events = Events::with_capacity(8);
    loop {
        let timeout = server.has_turns().then_some(Duration::ZERO);
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            result => result.unwrap(),
        }
        for event in &events {
            match event.token() {
                STOP => return,
                LISTENER => server.accept(),
                token => {
                    assert!(token.0 >= FIRST_CLIENT);
                    server.readable(token);
                }
            }
        }
        server.turn(&mut service);
    }
}

fn put(client: &OwnedFd, packet: &[u8]) -> Result<usize, Errno> {
    send(client.as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL)
}

/// Asserts that the server has closed the connection; a time-out fails.
#[track_caller]
fn assert_closed(client: &OwnedFd) {
    let result = recv(client.as_raw_fd(), &mut [0; 64], MsgFlags::empty());
    assert!(matches!(result, Ok(0) | Err(Errno::ECONNRESET)), "{result:?}");
}

#[test]
fn many_requests_over_one_connection_are_answered_in_order() {
    let bed = Bed::new();
    let client = bed.raw();
    let requests = [Request::Pool, Request::Resize { flavour: "a".into(), low: 1, high: 2 }];
    for request in requests.iter().cycle().take(20) {
        put(&client, &protocol::encode(request).unwrap()).unwrap();
    }
    for number in 0..20 {
        let mut buffer = [0; 64];
        let length = recv(client.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        let wanted = if number % 2 == 0 { Reply::Pool(Vec::new()) } else { Reply::Done };
        assert_eq!(protocol::decode::<Reply>(&buffer[..length]).unwrap(), wanted);
    }
    assert_eq!(bed.served(), 20);
}

#[test]
fn a_client_that_sends_anything_but_a_request_is_disconnected() {
    let bed = Bed::new();
    let good = protocol::encode(&Request::Pool).unwrap();
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
        assert!(neighbour.ask(&Request::Pool, &[]).is_ok(), "{} bytes", packet.len());
    }
    assert_eq!(bed.served(), 9, "only the neighbours");
}

#[test]
fn silent_clients_block_no_other_client_and_are_evicted() {
    let bed = Bed::new();
    let active = Chaosd::connect(&bed.path).unwrap();
    active.ask(&Request::Pool, &[]).unwrap();
    let silent: Vec<OwnedFd> = (0..MAX_CLIENTS - 1).map(|_| bed.raw()).collect();
    active.ask(&Request::Pool, &[]).unwrap();
    // A client that never sent anything is evicted.
    bed.assert_serves();
    assert_closed(&silent[0]);
    active.ask(&Request::Pool, &[]).unwrap();
    drop(silent);
    bed.assert_serves();
}

#[test]
fn a_client_that_does_not_read_its_replies_is_disconnected() {
    let bed = Bed::new();
    let client = bed.raw();
    let request = protocol::encode(&Request::Pool).unwrap();
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
        put(&bed.raw(), &protocol::encode(&Request::Pool).unwrap()).unwrap();
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
