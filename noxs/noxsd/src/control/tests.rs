// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of clients of all kinds, over real sockets; one file for each subject.

mod consoles;
mod disks;
mod limits;
mod requests;

use std::fs::{File, OpenOptions};
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use daemon::listener;
use mio::{Events, Poll, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send,
    sendmsg, socket,
};
use noxs_control::{ConsoleRole, ConsoleUse, Refusal, Reply, Request};

use super::server::{MAX_CLIENTS, MAX_PINNED, NOW_TYPES, Server};
use super::session::{self, Answer, Session};
use crate::console::{ClientId, frontend};
use crate::domains::Domains;
use crate::domains::bed::attach;
use crate::host::LocalPort;
use crate::host::fake::FakeHost;

const LISTENER: Token = Token(0);

/// A server with its loop and its socket.
struct Bed {
    poll: Poll,
    registry: Registry,
    server: Server,
    domains: Domains<FakeHost>,
    folder: PathBuf,
    path: PathBuf,
}

impl Bed {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Several tests, with hundreds of clients each, run in one process.
        daemon::system::raise_file_limit(None);
        let folder = format!("noxsd-server-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        let path = folder.join("noxsd.sock");
        std::fs::create_dir_all(&folder).unwrap();
        let listener = listener::listen(&path, None).unwrap();
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let server = Server::new(listener, registry.try_clone().unwrap(), LISTENER).unwrap();
        let now = Instant::now();
        let mut domains = Domains::new(FakeHost::default(), now);
        let tap = File::from(nix::unistd::pipe().unwrap().0);
        domains.add_switch("xenbr0", tap, now).unwrap();
        Self { poll, registry, server, domains, folder, path }
    }

    /// Serves until no client and no device is ready.
    fn run(&mut self) {
        let mut session = Session { registry: &self.registry, domain_exception: None };
        let mut events = Events::with_capacity(64);
        loop {
            self.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            let idle = events.is_empty()
                && !self.server.has_work(&self.domains)
                && !self.domains.has_work();
            if idle {
                return;
            }
            let now = Instant::now();
            for event in &events {
                match event.token() {
                    LISTENER => self.server.accept(),
                    client => {
                        let closed = event.is_read_closed();
                        self.server.client_event(client, event.is_readable(), closed);
                    }
                }
            }
            self.server.turn(&mut self.domains, &mut session, now);
            self.domains.turn(now, &mut self.server);
        }
    }

    /// Serves once.
    fn run_turn(&mut self, now: Instant) {
        let mut session = Session { registry: &self.registry, domain_exception: None };
        self.domains.turn(now, &mut self.server);
        self.server.turn(&mut self.domains, &mut session, now);
    }

    /// Connects a client.
    fn client(&mut self) -> OwnedFd {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let client = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        connect(client.as_raw_fd(), &UnixAddr::new(&self.path).unwrap()).unwrap();
        self.run();
        client
    }

    fn ask(&mut self, client: &OwnedFd, request: &Request, files: &[RawFd]) -> Option<Reply> {
        self.send(client, &noxs_control::encode(request).unwrap(), files)
    }

    /// Sends a packet and returns the reply; `None` if the client was disconnected.
    fn send(&mut self, client: &OwnedFd, packet: &[u8], files: &[RawFd]) -> Option<Reply> {
        let rights = [ControlMessage::ScmRights(files)];
        let rights = if files.is_empty() { &[][..] } else { &rights };
        let parts = [IoSlice::new(packet)];
        sendmsg::<()>(client.as_raw_fd(), &parts, rights, MsgFlags::MSG_NOSIGNAL, None).unwrap();
        self.run();
        receive(client).map(|packet| noxs_control::decode(&packet).unwrap())
    }

    fn log(&self) -> File {
        let path = self.folder.join("console.log");
        OpenOptions::new().read(true).append(true).create(true).open(path).unwrap()
    }

    /// Attaches a guest. Returns a client that is connected to its console, and the console's port.
    fn console(&mut self) -> (OwnedFd, LocalPort) {
        self.domains.host.guest(1);
        let toolstack = self.client();
        let log = self.log();
        let request = Request::Attach(attach(1));
        assert_eq!(self.ask(&toolstack, &request, &[log.as_raw_fd()]), Some(Reply::Done));
        let port = *self.domains.host.bound.first().unwrap();
        let client = self.client();
        let reply = self.ask(&client, &console(ConsoleUse::Terminal), &[]);
        assert_eq!(reply, Some(Reply::Console(ConsoleRole::Writer)));
        (client, port)
    }

    fn print(&mut self, port: LocalPort, text: &[u8]) {
        let page = self.domains.host.pages[&(1, 1)].clone();
        assert_eq!(frontend::print(&page, text), text.len());
        self.domains.event(port);
        self.run();
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Returns the request for guest 1's console.
fn console(usage: ConsoleUse) -> Request {
    Request::Console { id: attach(1).id, usage }
}

/// Receives a packet; `None` if there is none or the connection is closed.
fn receive(client: &OwnedFd) -> Option<Vec<u8>> {
    let mut buffer = vec![0; noxs_control::MAX_PACKET];
    match recv(client.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
        Ok(0) | Err(_) => None,
        Ok(length) => Some(buffer[..length].to_vec()),
    }
}

fn is_closed(client: &OwnedFd) -> bool {
    !matches!(recv(client.as_raw_fd(), &mut [0; 8], MsgFlags::empty()), Err(Errno::EAGAIN))
}
