//! Clients of all kinds, over real sockets.

use std::fs::{File, OpenOptions};
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use daemon::listener;
use mio::{Events, Poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send,
    sendmsg, socket,
};
use noxs_control::Refusal;

use super::*;
use crate::console::frontend;
use crate::domains::bed::attach;
use crate::host::LocalPort;
use crate::host::fake::FakeHost;

const LISTENER: Token = Token(0);

/// A server with its loop, and where it listens.
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

    /// Serves until nothing happens any more.
    fn run(&mut self) {
        let mut session = Session { registry: &self.registry, domain_exception: None };
        let mut events = Events::with_capacity(64);
        loop {
            self.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            let idle = events.is_empty() && !self.server.has_work() && !self.domains.has_work();
            if idle {
                return;
            }
            let now = Instant::now();
            for event in &events {
                match event.token() {
                    LISTENER => self.server.accept(),
                    client => self.server.client_event(client, event.is_readable()),
                }
            }
            self.server.turn(&mut self.domains, &mut session, now);
            self.domains.turn(now, &mut self.server);
        }
    }

    fn client(&mut self) -> OwnedFd {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let client = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        connect(client.as_raw_fd(), &UnixAddr::new(&self.path).unwrap()).unwrap();
        self.run();
        client
    }

    fn ask(&mut self, client: &OwnedFd, request: &Request, files: &[RawFd]) -> Option<Reply> {
        self.send(client, &noxs_control::encode(request), files)
    }

    /// Sends a packet; `None` if that cost the connection.
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

    /// A guest with a console and a client connected to it, and the console's port.
    fn console(&mut self) -> (OwnedFd, LocalPort) {
        self.domains.host.guest(1);
        let toolstack = self.client();
        let log = self.log();
        let request = Request::Attach(attach(1));
        assert_eq!(self.ask(&toolstack, &request, &[log.as_raw_fd()]), Some(Reply::Done));
        let port = *self.domains.host.bound.first().unwrap();
        let client = self.client();
        let console = Request::Console(attach(1).id);
        assert_eq!(self.ask(&client, &console, &[]), Some(Reply::Done));
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

/// A packet; `None` if the connection has ended or, for a client that is owed nothing, if there is
/// none.
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

#[test]
fn a_domain_is_attached_looked_at_and_detached() {
    let mut bed = Bed::new();
    bed.domains.host.guest(1);
    let client = bed.client();
    let id = attach(1).id;
    let log = bed.log();
    assert_eq!(
        bed.ask(&client, &Request::Detach(id), &[]),
        Some(Reply::Refused(Refusal::NoDevice))
    );
    let request = Request::Attach(attach(1));
    assert_eq!(bed.ask(&client, &request, &[log.as_raw_fd()]), Some(Reply::Done));
    assert_eq!(bed.domains.host.bound.len(), 2);
    match bed.ask(&client, &Request::Status(Some(id)), &[]) {
        Some(Reply::Status(status)) => assert_eq!(status[0].devices.len(), 2),
        other => panic!("{other:?}"),
    }
    assert_eq!(bed.ask(&client, &Request::Status(None), &[]), Some(Reply::Status(Vec::new())));
    assert_eq!(bed.ask(&client, &Request::Detach(id), &[]), Some(Reply::Done));
    assert!(bed.domains.host.bound.is_empty());
}

#[test]
fn files_of_the_wrong_kind_are_refused() {
    let mut bed = Bed::new();
    bed.domains.host.guest(1);
    let client = bed.client();
    let null = File::open("/dev/null").unwrap();
    let attach = Request::Attach(attach(1));
    let switch = Request::AddSwitch { bridge: "br1".into() };
    for (request, files) in [
        (&attach, &[][..]),
        (&attach, &[null.as_raw_fd()]),
        (&switch, &[]),
        (&switch, &[null.as_raw_fd()]),
    ] {
        let reply = bed.ask(&client, request, files);
        assert!(matches!(reply, Some(Reply::Refused(Refusal::Invalid(_)))), "{reply:?}");
    }
    assert!(bed.domains.host.bound.is_empty());
}

#[test]
fn garbage_costs_its_sender_the_connection_and_nobody_else() {
    let mut bed = Bed::new();
    let other = bed.client();
    let good = noxs_control::encode(&Request::Status(None));
    let null = File::open("/dev/null").unwrap();
    let cut = &good[..good.len() - 1];
    let long = vec![noxs_control::PROTOCOL; noxs_control::MAX_PACKET + 1];
    for packet in [&[9][..], &[noxs_control::PROTOCOL, 0xff], cut, &long] {
        let client = bed.client();
        assert_eq!(bed.send(&client, packet, &[]), None);
        assert!(is_closed(&client));
    }
    let client = bed.client();
    assert_eq!(bed.send(&client, &good, &[null.as_raw_fd(); 2]), None);
    assert!(is_closed(&client));
    assert_eq!(bed.send(&other, &good, &[]), Some(Reply::Status(Vec::new())));
}

#[test]
fn the_silent_go_when_there_are_too_many() {
    let mut bed = Bed::new();
    let first = bed.client();
    let second = bed.client();
    let mut others: Vec<OwnedFd> = (2..MAX_CLIENTS).map(|_| bed.client()).collect();
    assert!(bed.ask(&first, &Request::Status(None), &[]).is_some());
    others.push(bed.client());
    assert!(is_closed(&second));
    assert!(bed.ask(&first, &Request::Status(None), &[]).is_some());
    assert!(bed.ask(others.last().unwrap(), &Request::Status(None), &[]).is_some());
}

#[test]
fn a_client_that_takes_no_replies_is_not_read_from() {
    let mut bed = Bed::new();
    let rude = bed.client();
    let request = noxs_control::encode(&Request::Status(None));
    let mut sent = 0;
    while send(rude.as_raw_fd(), &request, MsgFlags::MSG_NOSIGNAL).is_ok() {
        sent += 1;
        bed.run();
        assert!(sent < 100_000, "no end");
    }
    let other = bed.client();
    assert!(bed.ask(&other, &Request::Status(None), &[]).is_some());
    // It gets all its replies once it reads them.
    let mut replies = 0;
    while replies < sent {
        while receive(&rude).is_some() {
            replies += 1;
        }
        bed.run();
    }
}

#[test]
fn a_console_carries_bytes_both_ways_to_one_client() {
    let mut bed = Bed::new();
    let (client, port) = bed.console();
    let late = bed.client();
    let request = Request::Console(attach(1).id);
    assert_eq!(bed.ask(&late, &request, &[]), Some(Reply::Refused(Refusal::ConsoleBusy)));
    bed.print(port, b"login: ");
    assert_eq!(receive(&client).as_deref(), Some(&b"login: "[..]));
    send(client.as_raw_fd(), b"root\r", MsgFlags::empty()).unwrap();
    bed.run();
    let page = bed.domains.host.pages[&(1, 1)].clone();
    assert_eq!(frontend::input(&page), b"root\r");
    drop(client);
    bed.run();
    assert_eq!(bed.ask(&late, &request, &[]), Some(Reply::Done));
    bed.domains.detach(attach(1).id, &mut bed.server).unwrap();
    bed.run();
    assert!(is_closed(&late));
}

#[test]
fn a_console_client_that_does_not_read_loses_the_oldest() {
    /// Less than a console may print at once, more than the socket and this side keep.
    const PRINTS: u8 = 130;
    let mut bed = Bed::new();
    let (client, port) = bed.console();
    for number in 0..PRINTS {
        bed.print(port, &[b'a' + number % 26; 2000]);
    }
    let mut all = Vec::new();
    while let Some(packet) = receive(&client) {
        all.extend(packet);
        bed.run();
    }
    let note = b"bytes of output lost]";
    assert!(all.windows(note.len()).any(|window| window == note));
    assert!(all.ends_with(&[b'a' + (PRINTS - 1) % 26; 2000]), "the newest is there");
    assert!(all.len() < 2000 * usize::from(PRINTS));
}

#[test]
fn input_that_the_guest_does_not_take_waits_in_the_socket() {
    let mut bed = Bed::new();
    let (client, port) = bed.console();
    let mut sent = Vec::new();
    for number in 0..12_u8 {
        let packet = [number; 1000];
        if send(client.as_raw_fd(), &packet, MsgFlags::empty()).is_ok() {
            sent.extend(packet);
        }
        bed.run();
    }
    let page = bed.domains.host.pages[&(1, 1)].clone();
    let mut arrived = Vec::new();
    loop {
        let input = frontend::input(&page);
        if input.is_empty() {
            break;
        }
        arrived.extend(input);
        bed.domains.event(port);
        bed.run();
    }
    assert_eq!(arrived, sent);
}

#[test]
fn watchers_hear_of_ends_and_the_interrupt_is_given_back() {
    let mut bed = Bed::new();
    let mut session = Session { registry: &bed.registry, domain_exception: None };
    let now = Instant::now();
    let from = || session::From { client: ClientId(0), files: Vec::new() };
    for _ in 0..2 {
        let answer = session.answer(Request::Watch, from(), &mut bed.domains, &mut bed.server, now);
        assert!(matches!(answer, Answer::Watch));
    }
    assert_eq!(bed.domains.host.bound.len(), 1, "bound once");
    // Nobody watches over a connection: the next turn lets go of it.
    bed.server.turn(&mut bed.domains, &mut session, now);
    assert!(bed.domains.host.bound.is_empty());

    let watcher = bed.client();
    assert_eq!(bed.ask(&watcher, &Request::Watch, &[]), Some(Reply::Done));
    bed.server.domain_ended();
    assert_eq!(receive(&watcher), Some(vec![0]));
}
