// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that serves Redis commands on TCP port 6379.
//!
//! The crate `redis-engine` implements the commands and stores the data; this program connects it
//! to the runtime. README.md says how the data is saved.

#![no_std]
#![no_main]

extern crate alloc;

mod disk;

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::Cell;
use core::time::Duration;

use redis_engine::{Memory, Output, Session, Store, Work};
use unikernel::block::Vbd;
use unikernel::hot_plug::Change;
use unikernel::net::{Addresses, Net, Next, Pending, Service, Stream};
use unikernel::{Guest, Instant, Port, heap, println};

use crate::disk::{SnapshotDisk, Spare};

/// The port that Redis clients expect.
const PORT: u16 = 6379;

/// The largest number of expired keys to remove at once, because clients wait meanwhile.
const EXPIRE_AT_ONCE: usize = 1000;

unikernel::guest!(main);

fn main(mut guest: Guest) {
    let store = Store::new(guest.seed(), unix_ms(guest.started()), &Heap);
    let started = guest.started();
    // Before the network, which takes many of the grants.
    let spare = Spare::default();
    let has_disk = guest.disks().next().is_some();
    let disk = has_disk
        .then(|| SnapshotDisk::open(&mut guest, &spare))
        .transpose()
        .unwrap_or_else(|error| panic!("redis: {error}"));
    let used = disk.as_ref().map(Used::of);
    let mut net = match Net::new(guest) {
        Ok(net) => net,
        Err(error) => panic!("redis: {error}"),
    };
    let ready = net.socket_addresses(PORT);
    let warned = [None; 2];
    let redis = Redis { store, started, ready, disk, used, spare, connections: 0, warned };
    panic!("redis: {}", net.serve(PORT, redis));
}

/// Returns the milliseconds since the Unix epoch.
fn unix_ms(moment: Instant) -> u64 {
    u64::try_from(moment.to_unix().as_millis()).unwrap_or(u64::MAX)
}

/// The runtime's heap, through the interface that the engine requires.
struct Heap;

impl Memory for Heap {
    fn used(&self) -> usize {
        heap::usage().used
    }

    fn total(&self) -> usize {
        let usage = heap::usage();
        usage.used + usage.free
    }

    fn can_allocate(&self, bytes: usize) -> bool {
        heap::can_allocate(bytes)
    }
}

/// How often to print that connections are closed, at most, for each reason.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Why a connection is closed.
#[derive(Clone, Copy)]
enum Why {
    /// Its peer sends HTTP requests.
    Http,
    /// Incomplete requests hold too much memory.
    Memory,
}

/// The disk that the server saves to. The store has the disk itself.
struct Used {
    vbd: Vbd,
    /// What is set if its backend is gone.
    gone: Rc<Cell<bool>>,
}

impl Used {
    fn of(disk: &SnapshotDisk) -> Self {
        Self { vbd: disk.vbd(), gone: disk.gone() }
    }
}

/// The server.
struct Redis {
    store: Store,
    started: Instant,
    /// Where clients connect.
    ready: Addresses,
    /// The disk until the data is loaded from it, if there is one.
    disk: Option<SnapshotDisk>,
    /// The disk that it saves to.
    used: Option<Used>,
    /// The buffers of a disk that was removed.
    spare: Spare,
    /// The number of connections so far.
    connections: u64,
    /// When it was printed why a connection was closed, for each reason in [`Why`].
    warned: [Option<Instant>; 2],
}

impl Redis {
    /// Uses the disk that was added. Returns whether that is possible.
    #[cold]
    fn add_disk(&mut self, guest: &mut Guest) -> bool {
        let disk = match SnapshotDisk::open(guest, &self.spare) {
            Ok(disk) => disk,
            Err(error) => {
                println!("redis: {error}");
                return false;
            }
        };
        let used = Some(Used::of(&disk));
        match self.store.add_disk(Box::new(disk), unix_ms(Instant::now())) {
            Ok(loaded) => {
                println!("redis: {} keys loaded from the new disk", loaded.keys);
                self.used = used;
                true
            }
            Err(error) => {
                println!("redis: {error}");
                false
            }
        }
    }

    /// Prints why a connection is closed, but not for each of many.
    #[cold]
    fn warn(&mut self, why: Why, stream: &Stream<'_>) {
        let now = stream.now();
        let warned = &mut self.warned[why as usize];
        if warned.is_some_and(|last| now.since(last) < WARN_EVERY) {
            return;
        }
        *warned = Some(now);
        let Some(peer) = stream.peer() else { return };
        match why {
            Why::Http => {
                println!("redis: closed {peer}: it sent HTTP, perhaps from a hostile web page");
            }
            Why::Memory => println!(
                "redis: closed {peer}: incomplete requests took over half of the free memory, and \
                 its the most; give the guest more memory"
            ),
        }
    }
}

/// One client.
struct Client {
    session: Session,
    /// Replies that are not completely sent.
    output: Output,
    /// How many bytes of `output` are sent. They are removed only when all are sent: removing the
    /// beginning of a long reply each time would copy the rest each time.
    sent: usize,
    /// When a command was last completed or a part of a reply taken; or, if that is later, when the
    /// command that is incomplete began.
    progress: Instant,
    /// Whether to close the connection when all output is sent.
    closing: bool,
}

impl Client {
    /// Sends as much as there is room for, and returns whether that was everything.
    fn send(&mut self, stream: &mut Stream<'_>) -> bool {
        let count = stream.send(&self.output.bytes()[self.sent..]);
        if count > 0 {
            self.sent += count;
            self.progress = stream.now();
        }
        let all = self.sent == self.output.len();
        if all {
            self.output.sent(self.sent);
            self.sent = 0;
        }
        all
    }

    /// Keeps the connection.
    fn keep(&self) -> Next {
        if self.output.is_empty() && self.session.is_between_commands() {
            Next::Continue
        } else {
            Next::Unfinished { since: self.progress }
        }
    }
}

impl Service for Redis {
    type Session = Client;

    fn start(&mut self) {
        if let Some(disk) = self.disk.take() {
            match self.store.load(Box::new(disk), unix_ms(self.started)) {
                Ok(loaded) => {
                    println!("redis: {} keys loaded", loaded.keys);
                    if loaded.other_is_damaged {
                        println!("redis: the disk's other snapshot is damaged; it may be newer");
                    }
                }
                // With an empty store the next snapshot would replace the data.
                Err(error) => panic!("redis: {error}"),
            }
        }
        println!("redis: ready on {}", self.ready);
    }

    fn open(&mut self, stream: &mut Stream<'_>) -> Client {
        self.connections += 1;
        Client {
            session: Session::new(self.connections, &mut self.store),
            output: Output::default(),
            sent: 0,
            progress: stream.now(),
            closing: false,
        }
    }

    fn ready(&mut self, client: &mut Client, stream: &mut Stream<'_>) -> Next {
        let now = unix_ms(stream.now());
        // Read no more requests from a client that does not take its replies; TCP slows it down.
        while client.send(stream) {
            if client.closing {
                return Next::Close;
            }
            if stream.received() == 0 {
                return if stream.is_finished() { Next::Close } else { client.keep() };
            }
            let Client { session, output, closing, .. } = &mut *client;
            let (mut progress, mut http) = (session.is_between_commands(), false);
            stream.receive(|input| {
                let fed = session.feed(&mut self.store, now, input, output);
                *closing |= fed.close;
                progress |= fed.completed;
                http |= fed.http;
                fed.consumed
            });
            if progress {
                client.progress = stream.now();
            }
            if http {
                self.warn(Why::Http, stream);
                return Next::Close;
            }
        }
        client.keep()
    }

    fn refusal(&self) -> &'static [u8] {
        b"-ERR max number of clients reached\r\n"
    }

    fn holds_too_much(&self) -> bool {
        self.store.requests_exceed_their_share()
    }

    fn held(&self, client: &Client) -> usize {
        client.session.held_by_request()
    }

    fn closing(&mut self, _client: &Client, stream: &Stream<'_>) {
        self.warn(Why::Memory, stream);
    }

    fn work(&mut self, now: Instant) -> Pending {
        let Some(used) = &self.used else { return Pending::Nothing };
        let port = Port::new(used.vbd.backend.port);
        match self.store.work(unix_ms(now)) {
            Work::Nothing => Pending::Nothing,
            Work::More => Pending::More,
            Work::Over(Ok(())) => {
                println!("redis: saved in the background");
                Pending::Nothing
            }
            Work::Wait => Pending::Event(port),
            Work::Over(Err(error)) => {
                println!("redis: not saved: {error}");
                Pending::Nothing
            }
        }
    }

    fn change_disks(&mut self, guest: &mut Guest, change: &Change) -> bool {
        if let Some(Used { vbd, gone }) = &self.used
            && !guest.disks().any(|disk| disk.backend == vbd.backend)
        {
            gone.set(!change.has_backend(vbd));
            self.store.remove_disk();
            self.used = None;
            println!("redis: the disk is gone");
        }
        match (guest.disks().count(), &self.used) {
            (0, _) | (1, Some(_)) => true,
            (1, None) => self.add_disk(guest),
            // It saves to one disk.
            _ => false,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.store.next_expiry().map(|ms| Instant::from_unix(Duration::from_millis(ms)))
    }

    fn expire(&mut self, now: Instant) {
        self.store.expire(unix_ms(now), EXPIRE_AT_ONCE);
    }
}
