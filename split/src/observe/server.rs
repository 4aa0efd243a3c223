// SPDX-License-Identifier: GPL-3.0-or-later
//! The thread that serves metrics and events.

mod follow;

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use daemon::chain::chain;
use daemon::level::Level;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use self::follow::Watches;
use super::connection::{Connection, DEADLINE, Door, Over, Stage};
use super::http::{self, Answer, Format, NO_FIGURES, Problem, Wanted};
use super::metrics::Snapshot;
use super::plain;
use super::report::Reports;
use super::source::Source;
use super::tally::DaemonFigures;

/// Wakes the thread.
pub(super) const WAKER: Token = Token(0);
const ROOT: Token = Token(1);
const LOOPBACK: Token = Token(2);
const NAMES: Token = Token(3);
const DEVICES: Token = Token(4);

/// The first client's token.
const FIRST_CLIENT: usize = 16;

/// The most clients at each door that are not following events. When there is one more, the oldest is
/// disconnected: it has had its time.
const MAX_CLIENTS: usize = 16;

/// How often a client on loopback, who may be anyone in dom0, gets new figures.
const LOOPBACK_PAUSE: Duration = Duration::from_secs(1);

/// Where clients connect.
#[derive(Debug)]
pub(super) struct Listeners {
    /// The Unix socket, non-blocking.
    pub root: UnixListener,
    /// Loopback, if it is wanted.
    pub loopback: Option<TcpListener>,
}

/// What the main thread sends.
pub(super) enum Order {
    /// What it knows, as asked.
    Figures(Box<DaemonFigures>),
    /// Another loopback socket, or none.
    Loopback(Option<TcpListener>),
}

/// How the thread talks to the main thread.
pub(super) struct Channels {
    pub(super) asks: Sender<()>,
    pub(super) main: Arc<Waker>,
    pub(super) orders: Receiver<Order>,
    pub(super) reports: Reports,
}

/// What a client on loopback gets.
struct Cached {
    text: Result<Arc<String>, Problem>,
    /// The same in the older format, once a client has asked for it.
    plain: Option<Arc<String>>,
    at: Instant,
}

impl Cached {
    fn answer(&mut self, format: Format) -> Arc<Answer> {
        let text = match &self.text {
            Ok(text) => text,
            Err(problem) => return Arc::new(http::refusal(*problem)),
        };
        let text = match format {
            Format::OpenMetrics => text,
            Format::Plain => {
                self.plain.get_or_insert_with(|| Arc::new(plain::from_openmetrics(text)))
            }
        };
        Arc::new(http::metrics(format, Arc::clone(text)))
    }
}

/// The thread.
pub(super) struct Server<S> {
    poll: Poll,
    listeners: Listeners,
    channels: Channels,
    source: S,
    /// Whether the poll reports the listeners by level; by edge otherwise.
    by_level: bool,
    /// The oldest first.
    clients: Vec<Connection>,
    next_token: usize,
    /// Whether the main thread was asked and has not answered yet.
    is_asked: bool,
    watches: Option<Watches>,
    cached: Option<Cached>,
}

impl<S: Source> Server<S> {
    pub(super) fn new(
        poll: Poll,
        listeners: Listeners,
        channels: Channels,
        source: S,
    ) -> io::Result<Self> {
        let new = Self {
            poll,
            listeners,
            channels,
            source,
            by_level: true,
            clients: Vec::new(),
            next_token: FIRST_CLIENT,
            is_asked: false,
            watches: None,
            cached: None,
        };
        new.watch(new.listeners.root.as_raw_fd(), ROOT)?;
        if let Some(loopback) = &new.listeners.loopback {
            new.watch(loopback.as_raw_fd(), LOOPBACK)?;
        }
        Ok(new)
    }

    fn watch(&self, fd: i32, token: Token) -> io::Result<()> {
        self.poll.registry().register(&mut Level(fd), token, Interest::READABLE)
    }

    /// Serves without end.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        loop {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            // First, because each of them was sent before the change of names that it caused.
            self.take_reports();
            for event in &events {
                match event.token() {
                    WAKER => self.take_orders()?,
                    ROOT => self.accept(Door::Root),
                    LOOPBACK => self.accept(Door::Loopback),
                    NAMES => self.names_changed(),
                    DEVICES => self.devices_changed(),
                    token => {
                        // A reader of events that exits is reported as a hang-up only. One that has
                        // shut down its sending side can be read, and is found there.
                        let has_gone = event.is_read_closed() && !event.is_readable();
                        self.client(token, event.is_readable(), event.is_error() || has_gone);
                    }
                }
            }
            self.expire();
            self.retry_devices();
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let deadlines = self.clients.iter().filter_map(|client| client.deadline);
        let retry = self.watches.as_ref().and_then(|watches| watches.retry);
        let next = deadlines.chain(retry).min();
        next.map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn take_orders(&mut self) -> io::Result<()> {
        while let Ok(order) = self.channels.orders.try_recv() {
            match order {
                Order::Figures(figures) => self.answer_metrics(*figures),
                Order::Loopback(loopback) => {
                    self.listeners.loopback = loopback;
                    if let Some(loopback) = &self.listeners.loopback {
                        self.watch(loopback.as_raw_fd(), LOOPBACK)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Accepts one connection.
    fn accept(&mut self, door: Door) {
        let accepted =
            match door {
                Door::Root => self.listeners.root.accept().map(|(socket, _)| {
                    socket.set_nonblocking(true).map(|()| OwnedFd::from(socket))
                }),
                Door::Loopback => {
                    let Some(loopback) = &self.listeners.loopback else { return };
                    loopback.accept().map(|(socket, _)| {
                        socket.set_nonblocking(true).map(|()| OwnedFd::from(socket))
                    })
                }
            };
        let socket = match accepted {
            Ok(Ok(socket)) => socket,
            Ok(Err(_)) => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                tracing::warn!("cannot accept a connection for metrics or events: {error}");
                return self.listen(false);
            }
        };
        self.listen(true);
        let has_deadline = |client: &&Connection| client.door == door && client.deadline.is_some();
        if self.clients.iter().filter(has_deadline).count() >= MAX_CLIENTS
            && let Some(oldest) = self.clients.iter().position(|client| has_deadline(&client))
        {
            self.clients.remove(oldest);
        }
        let token = Token(self.next_token);
        self.next_token += 1;
        match Connection::new(socket, door, token, self.poll.registry()) {
            Ok(client) => self.clients.push(client),
            Err(error) => tracing::warn!("cannot wait for a client: {error}"),
        }
    }

    /// Reports the listeners by level or, while no client can be accepted, by edge: by level the poll
    /// would report the same waiting client without end.
    fn listen(&mut self, by_level: bool) {
        if by_level == self.by_level {
            return;
        }
        let registry = self.poll.registry();
        let root = (self.listeners.root.as_raw_fd(), ROOT);
        let loopback = self.listeners.loopback.as_ref().map(|one| (one.as_raw_fd(), LOOPBACK));
        for (fd, token) in [root].into_iter().chain(loopback) {
            let listening = match by_level {
                true => registry.reregister(&mut Level(fd), token, Interest::READABLE),
                false => registry.reregister(&mut SourceFd(&fd), token, Interest::READABLE),
            };
            if let Err(error) = listening {
                tracing::warn!("cannot change how to wait for connections: {error}");
            }
        }
        self.by_level = by_level;
    }

    /// Serves a client that the poll has reported.
    fn client(&mut self, token: Token, is_readable: bool, is_error: bool) {
        let Some(index) = self.clients.iter().position(|client| client.token() == token) else {
            return;
        };
        let served = if is_error { Err(Over) } else { self.serve(index, is_readable) };
        if served.is_err() {
            self.clients.remove(index);
            self.follow_if_wanted();
        }
    }

    fn serve(&mut self, index: usize, is_readable: bool) -> Result<(), Over> {
        let client = &mut self.clients[index];
        if let Stage::Asks(_) = client.stage {
            let Some(wanted) = client.receive()? else { return Ok(()) };
            let door = client.door;
            let stage = match wanted {
                Ok(Wanted::Metrics(format)) => self.metrics(format, door),
                Ok(Wanted::Events(form)) => self.events(form),
                Err(problem) => refused(problem),
            };
            let client = &mut self.clients[index];
            if let Stage::Follows(_) = stage {
                client.deadline = None;
            }
            client.stage = stage;
        } else if is_readable {
            client.receive()?;
        }
        self.clients[index].send(self.poll.registry())
    }

    /// Returns the stage of a client that asks for metrics.
    fn metrics(&mut self, format: Format, door: Door) -> Stage {
        if door == Door::Loopback
            && let Some(cached) =
                self.cached.as_mut().filter(|one| one.at.elapsed() < LOOPBACK_PAUSE)
        {
            return Stage::Reads(cached.answer(format), 0);
        }
        if !self.is_asked && self.channels.asks.send(()).is_ok() {
            self.is_asked = self.channels.main.wake().is_ok();
        }
        Stage::Waits(format)
    }

    /// Answers all clients that wait for metrics.
    fn answer_metrics(&mut self, daemon: DaemonFigures) {
        self.is_asked = false;
        let waits = |client: &Connection| matches!(client.stage, Stage::Waits(_));
        if !self.clients.iter().any(waits) {
            return;
        }
        let began = Instant::now();
        let text = match self.source.figures() {
            Ok(mut figures) => {
                let changes = std::mem::take(&mut figures.changes);
                self.publish_names(Ok(changes));
                let collected = began.elapsed();
                // Of the last text, if no client reads it any more.
                let memory =
                    self.cached.take().and_then(|cached| Arc::into_inner(cached.text.ok()?));
                let text = Snapshot { figures, daemon }.render(memory.unwrap_or_default());
                tracing::debug!(
                    "metrics: collected in {collected:?}, in all {:?}",
                    began.elapsed()
                );
                Ok(Arc::new(text))
            }
            Err(error) => {
                tracing::warn!("cannot collect the metrics: {}", chain(&error));
                Err(NO_FIGURES)
            }
        };
        let mut cached = Cached { text, plain: None, at: Instant::now() };
        for client in &mut self.clients {
            let Stage::Waits(format) = client.stage else { continue };
            client.stage = Stage::Reads(cached.answer(format), 0);
        }
        self.cached = Some(cached);
        self.send_all();
    }

    /// Sends what waits, and drops the clients whose connection is over.
    fn send_all(&mut self) {
        let registry = self.poll.registry();
        self.clients.retain_mut(|client| client.send(registry).is_ok());
        self.follow_if_wanted();
    }

    /// Disconnects the clients whose time is over.
    fn expire(&mut self) {
        let now = Instant::now();
        let before = self.clients.len();
        self.clients.retain(|client| client.deadline.is_none_or(|deadline| now < deadline));
        if self.clients.len() < before {
            tracing::debug!("disconnected clients that took more than {DEADLINE:?} for an answer");
        }
    }
}

fn refused(problem: Problem) -> Stage {
    Stage::Reads(Arc::new(http::refusal(problem)), 0)
}
