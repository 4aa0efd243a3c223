// SPDX-License-Identifier: GPL-3.0-or-later
//! The event loop: waits for event channels, clients, taps and timers, and serves them in turns.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use daemon::level::Level;
use mio::{Events, Interest, Poll, Token};

use super::address_watch::AddressWatch;
use crate::control::server::{self, Server};
use crate::control::session::{FIRST_TAP, Session};
use crate::domains::Domains;
use crate::host::LocalPort;
use crate::host::dom0::{self, XenHost};
use crate::net::BridgeId;

const LISTENER: Token = Token(0);
const EVENT_CHANNELS: Token = Token(1);
const ADDRESSES: Token = Token(2);
const FILES: Token = Token(3);

/// Most events that one call of poll returns.
const EVENTS: usize = 256;

/// The loop, ready to run.
#[derive(Debug)]
pub struct EventLoop {
    poll: Poll,
    registry: mio::Registry,
    domains: Domains<XenHost>,
    server: Server,
    addresses: AddressWatch,
}

impl EventLoop {
    /// Creates a loop for these domains and for the clients of a listening, non-blocking socket.
    ///
    /// # Errors
    /// The kernel cannot poll the event channels or the sockets.
    pub(super) fn new(
        domains: Domains<XenHost>,
        listener: UnixListener,
        addresses: AddressWatch,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let events = domains.host.events_fd();
        registry.register(&mut Level(events), EVENT_CHANNELS, Interest::READABLE)?;
        registry.register(&mut Level(addresses.fd()), ADDRESSES, Interest::READABLE)?;
        for files in domains.host.files_fds() {
            registry.register(&mut Level(files), FILES, Interest::READABLE)?;
        }
        let server = Server::new(listener, poll.registry().try_clone()?, LISTENER)?;
        Ok(Self { poll, registry, domains, server, addresses })
    }

    /// Returns the domains, the server and a session, for what is done before the loop runs.
    pub fn parts(&mut self) -> (&mut Domains<XenHost>, &mut Server, Session<'_>) {
        let session = Session { registry: &self.registry, domain_exception: None };
        (&mut self.domains, &mut self.server, session)
    }

    /// Serves without end.
    ///
    /// # Errors
    /// The poll fails.
    pub fn run(&mut self) -> io::Result<Infallible> {
        let Self { poll, registry, domains, server, addresses } = self;
        let mut session = Session { registry, domain_exception: None };
        let mut events = Events::with_capacity(EVENTS);
        let mut ports = Vec::new();
        loop {
            let timeout = if domains.has_work() || server.has_work(domains) {
                Some(Duration::ZERO)
            } else {
                let remaining =
                    |deadline: Instant| deadline.saturating_duration_since(Instant::now());
                let deadlines = [domains.deadline(), server.deadline()];
                deadlines.into_iter().flatten().min().map(remaining)
            };
            match poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now = Instant::now();
            for event in &events {
                match event.token() {
                    LISTENER => server.accept(),
                    EVENT_CHANNELS => {
                        ports.clear();
                        if domains.host.pending(&mut ports) == dom0::Events::Lost {
                            domains.events_lost();
                            if let Some(port) = session.domain_exception {
                                domains.unmask(port);
                            }
                            server.notify_watchers();
                        }
                        for port in ports.iter().map(|port| LocalPort(port.0)) {
                            if session.domain_exception == Some(port) {
                                domains.unmask(port);
                                server.notify_watchers();
                            } else {
                                domains.event(port);
                            }
                        }
                    }
                    // The turn below looks at what is finished.
                    FILES => {}
                    ADDRESSES => {
                        if let Err(error) = addresses.serve(domains) {
                            tracing::warn!("cannot learn changes of dom0's addresses: {error}");
                        }
                    }
                    Token(tap) if tap < server::FIRST_TOKEN => {
                        domains.tap_ready(BridgeId(tap - FIRST_TAP))
                    }
                    client => {
                        let closed = event.is_read_closed() || event.is_error();
                        server.client_event(client, event.is_readable(), closed);
                    }
                }
            }
            server.turn(domains, &mut session, now);
            domains.turn(now, server);
        }
    }
}
