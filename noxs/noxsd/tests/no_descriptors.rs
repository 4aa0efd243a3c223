// SPDX-License-Identifier: GPL-3.0-or-later
//! A noxsd that has no file descriptor left for a client. This is a test program of its own,
//! because the limit applies to the whole process.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use daemon::listener;
use mio::{Events, Poll, Token};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
};
use noxs_control::{Reply, Request};
use noxsd::control::server::Server;
use noxsd::control::session::Session;
use noxsd::domains::Domains;
use noxsd::host::buffers::{Buffers, GrantCopy};
use noxsd::host::file_io::{FileIo, FinishedIo};
use noxsd::host::{CopyOp, DomId, GrantRef, Host, LocalPort, RemotePort};
use xen_ring::SharedPage;

const LISTENER: Token = Token(0);

/// A host without Xen.
struct NoXen;

struct NoMemory;

impl SharedPage for NoMemory {
    fn load(&self, _: usize) -> u32 {
        0
    }

    fn store(&self, _: usize, _: u32) {}

    fn read(&self, _: usize, _: &mut [u8]) {}

    fn write(&self, _: usize, _: &[u8]) {}
}

impl Host for NoXen {
    type Memory = NoMemory;

    fn map(&mut self, _: DomId, _: &[GrantRef]) -> io::Result<NoMemory> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn map_frames(&mut self, _: DomId, _: &[GrantRef], _: bool) -> io::Result<NoMemory> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn bind(&mut self, _: DomId, _: RemotePort) -> io::Result<LocalPort> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn bind_domain_exception(&mut self) -> io::Result<LocalPort> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn unbind(&mut self, _: LocalPort) {}

    fn notify(&mut self, _: LocalPort) {}

    fn unmask(&mut self, _: &[LocalPort]) {}

    fn fetch(&mut self, _: &mut Buffers, _: &mut [GrantCopy]) {}

    fn deliver(&mut self, _: &Buffers, _: &mut [GrantCopy]) {}

    fn copy(&mut self, _: &mut [CopyOp<'_>]) {}

    fn begin_io(&mut self, _: FileIo) {}

    fn submit_io(&mut self) -> bool {
        true
    }

    fn finished_io(&mut self, _: &mut Vec<FinishedIo>) {}
}

struct Bed {
    poll: Poll,
    server: Server,
    domains: Domains<NoXen>,
}

impl Bed {
    /// Serves until the poll returns no events. Returns how often it returned some.
    fn run(&mut self) -> usize {
        let mut events = Events::with_capacity(16);
        for round in 0.. {
            self.poll.poll(&mut events, Some(Duration::ZERO)).expect("poll succeeds");
            if events.is_empty() || round == 100 {
                return round;
            }
            let now = Instant::now();
            for event in &events {
                match event.token() {
                    LISTENER => self.server.accept(),
                    client => self.server.client_event(client, event.is_readable(), false),
                }
            }
            let mut session = Session { registry: self.poll.registry(), domain_exception: None };
            self.server.turn(&mut self.domains, &mut session, now);
        }
        unreachable!("the loop returns")
    }
}

fn unconnected() -> OwnedFd {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("a descriptor is free")
}

#[test]
fn clients_wait_without_a_busy_loop_and_are_served_when_a_descriptor_is_free() {
    let folder = std::env::temp_dir().join(format!("noxsd-descriptors-{}", std::process::id()));
    let path = folder.join("noxsd.sock");
    std::fs::create_dir_all(&folder).unwrap();
    let listener = listener::listen(&path, None).unwrap();
    let poll = Poll::new().unwrap();
    let server = Server::new(listener, poll.registry().try_clone().unwrap(), LISTENER).unwrap();
    let domains = Domains::new(NoXen, Instant::now());
    let mut bed = Bed { poll, server, domains };
    let address = UnixAddr::new(&path).unwrap();
    let clients = [unconnected(), unconnected(), unconnected()];

    // Set the limit to the lowest free number, so that no descriptor is left.
    let used = File::open("/dev/null").unwrap().as_raw_fd();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, used.unsigned_abs().into(), hard).unwrap();
    for client in &clients[..2] {
        connect(client.as_raw_fd(), &address).unwrap();
        assert!(bed.run() < 5, "the server does not retry in a busy loop");
    }
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    connect(clients[2].as_raw_fd(), &address).unwrap();
    bed.run();
    for client in &clients {
        let request = noxs_control::encode(&Request::Status).unwrap();
        send(client.as_raw_fd(), &request, MsgFlags::empty()).unwrap();
        bed.run();
        let mut reply = [0; 64];
        let length = recv(client.as_raw_fd(), &mut reply, MsgFlags::empty()).unwrap();
        assert_eq!(noxs_control::decode(&reply[..length]), Ok(Reply::Status(Vec::new())));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
