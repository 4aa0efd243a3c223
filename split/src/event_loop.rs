// SPDX-License-Identifier: GPL-3.0-or-later
//! The event loop: requests, signals, prepared shells and guests that have ended.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use chaos::guests::LifecycleError;
use daemon::chain::chain;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use crate::member_server::MemberServer;
use crate::members::ROOT;
use crate::observe::{DaemonFigures, Observer, ObserverError};
use crate::removal::Removals;
use crate::server::{FIRST_CLIENT, LISTENER, Serve, Server};
use crate::service::{AfterLoad, Service};
use crate::settings::{Settings, SettingsError};
use crate::supervise::{RenewedWatch, Supervisor};

/// Reports that another thread has something for the main thread: prepared shells, removed guests,
/// kernels, requests of members.
pub(crate) const WORKERS: Token = Token(1);
const SIGNALS: Token = Token(2);
const ENDS: Token = Token(3);

/// The most turns that clients get before a guest that has ended.
const MAX_PASSED_OVER: u32 = 16;

/// How long requests that were sent before SIGTERM are answered.
const FINISH: Duration = Duration::from_secs(5);

/// Everything that the loop serves. `R` reads the configuration again.
pub(crate) struct EventLoop<R> {
    poll: Poll,
    signals: SignalFd,
    read_settings: R,
    service: Service,
    server: Server,
    members: MemberServer,
    observer: Observer,
    supervisor: Supervisor,
    watch: RenewedWatch,
    /// Turns of clients since the supervisor had one.
    passed_over: u32,
    /// The share of time of users other than root.
    /// Whether creates whose kernel was read come before requests in the next turn of these users.
    loaded_first: bool,
}

/// Whether the loop goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    Exit,
}

/// Why the configuration is not replaced.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    /// It cannot be read.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A flavour's kernel cannot be used.
    #[error(transparent)]
    Kernel(#[from] LifecycleError),
    /// The address for metrics cannot be used.
    #[error(transparent)]
    Observer(#[from] ObserverError),
}

impl<R: Fn() -> Result<Settings, SettingsError>> EventLoop<R> {
    /// Takes over the restarts that an earlier `chaosd` left pending, and looks for guests that
    /// have ended.
    ///
    /// # Errors
    /// The signals cannot be added to the poll.
    pub(crate) fn new(
        poll: Poll,
        signals: SignalFd,
        read_settings: R,
        service: Service,
        (server, members, observer): (Server, MemberServer, Observer),
        removals: Removals,
    ) -> io::Result<Self> {
        let fd = signals.as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), SIGNALS, Interest::READABLE)?;
        let mut supervisor = Supervisor::new(removals, service.lines());
        supervisor.report_to(observer.reporter());
        supervisor.take_over(service.host());
        supervisor.scan(service.host());
        let watch = RenewedWatch::default();
        Ok(Self {
            poll,
            signals,
            read_settings,
            service,
            server,
            members,
            observer,
            supervisor,
            watch,
            passed_over: 0,
            loaded_first: false,
        })
    }

    /// Serves until SIGTERM or SIGINT, then removes the sockets at `paths`, answers the requests that
    /// were sent before, and destroys the shells.
    ///
    /// # Errors
    /// The kernel cannot wait for events.
    pub(crate) fn run(mut self, paths: [&Path; 3]) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        loop {
            self.renew_watch()?;
            self.supervisor.run_timers(self.service.host(), Instant::now());
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let mut next = Next::Continue;
            for event in &events {
                if self.dispatch(event) == Next::Exit {
                    next = Next::Exit;
                }
            }
            if next == Next::Exit {
                // Before the listener closes: a client must not find a socket without one.
                for path in paths {
                    let _ = fs::remove_file(path);
                }
                self.finish_requests(&mut events)?;
                // Clients do not wait for the shells: they learn at once that they must turn
                // elsewhere.
                drop((self.server, self.members));
                self.service.shut_down();
                return Ok(());
            }
            self.work();
        }
    }

    /// Answers the requests that clients have sent already, for a few seconds at most: a client that
    /// never ceases to send does not keep the process from its exit.
    fn finish_requests(&mut self, events: &mut Events) -> io::Result<()> {
        let deadline = Instant::now() + FINISH;
        self.members.stop();
        while Instant::now() < deadline {
            let expects_more = self.service.is_loading() || !self.members.is_done();
            let now = Instant::now();
            let timeout = match expects_more && !self.has_requests() {
                true => self.service.rest.ends(now).map_or(deadline, |end| end.min(deadline)) - now,
                false => Duration::ZERO,
            };
            match self.poll.poll(events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let mut has_more = expects_more || self.has_requests();
            for token in events.iter().map(Event::token) {
                match token {
                    LISTENER => self.server.accept(),
                    WORKERS => {
                        self.members.collect();
                        self.answer_loaded();
                    }
                    token if token.0 >= FIRST_CLIENT => self.server.readable(token),
                    _ => continue,
                }
                has_more = true;
            }
            if !has_more {
                break;
            }
            self.serve_requests();
        }
        Ok(())
    }

    /// Returns whether a request waits for nothing but its turn.
    fn has_requests(&self) -> bool {
        let of_members = self.members.has_turns() || self.service.has_loaded();
        self.server.has_turns() || of_members && !self.service.rest.is_on(Instant::now())
    }

    /// Serves one request of root and one of another user, if there are any and the latter have no
    /// rest: neither waits for more than one of the other. Returns `true` if there was one.
    ///
    /// Each long one has a rest after it, so creates whose kernel was read and new requests take turns.
    fn serve_requests(&mut self) -> bool {
        let of_root = self.server.turn(&mut self.service);
        let began = Instant::now();
        if self.service.rest.is_on(began) {
            return of_root;
        }
        self.loaded_first = !self.loaded_first;
        let of_member = if self.loaded_first && self.service.has_loaded() {
            self.answer_loaded();
            true
        } else {
            let had_turn = self.members.turn(&mut self.service);
            self.service.rest.had_turn(began, Instant::now());
            had_turn
        };
        if of_member {
            // A guest of root's that has ended waits for one of these at most, too.
            self.passed_over = MAX_PASSED_OVER;
        }
        of_member || of_root
    }

    /// Starts the watch for guests that end if there is none, at most once a second.
    fn renew_watch(&mut self) -> io::Result<()> {
        let is_due = self.watch.retry().is_none_or(|at| at <= Instant::now());
        if self.watch.current().is_some() || !is_due {
            return Ok(());
        }
        let is_new = self.watch.renew(self.service.host(), Instant::now());
        if let Some(watch) = self.watch.current().filter(|_| is_new) {
            let fd = watch.as_fd().as_raw_fd();
            self.poll.registry().register(&mut SourceFd(&fd), ENDS, Interest::READABLE)?;
            self.supervisor.scan_regularly(watch.misses_ends());
            self.supervisor.scan(self.service.host());
        }
        Ok(())
    }

    /// Returns how long the poll may wait: not at all while there are turns, else until the next
    /// timer, or without limit.
    fn timeout(&self) -> Option<Duration> {
        if self.has_requests() || self.supervisor.has_turns() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let timers = [
            self.watch.retry(),
            self.supervisor.next_timer(now),
            self.service.tidy_at(),
            self.service.adapt_at(),
        ];
        let waits = self.members.has_turns() || self.service.has_loaded();
        let rest = self.service.rest.ends(now).filter(|_| waits);
        timers.into_iter().chain([rest]).flatten().min().map(|at| at.saturating_duration_since(now))
    }

    fn dispatch(&mut self, event: &Event) -> Next {
        match event.token() {
            LISTENER => self.server.accept(),
            WORKERS => {
                self.service.collect();
                self.supervisor.collect(self.service.host());
                self.service.collect_restarts(&mut self.supervisor);
                self.members.collect();
                self.answer_loaded();
                self.answer_observer();
            }
            SIGNALS => {
                let next = self.handle_signals();
                self.supervisor.scan(self.service.host());
                return next;
            }
            ENDS => {
                let may_have_ended = self.watch.take(Instant::now());
                if may_have_ended {
                    self.supervisor.note_end();
                }
            }
            token if token.0 >= FIRST_CLIENT => self.server.readable(token),
            _ => {}
        }
        Next::Continue
    }

    /// Reports what only this thread knows to the one that serves metrics, if that has asked.
    fn answer_observer(&self) {
        let Self { observer, service, supervisor, .. } = self;
        observer.answer(|| DaemonFigures {
            flavours: service.flavours(),
            creates: service.creates().clone(),
            restarts: supervisor.restart_tally().clone(),
            pending_restarts: supervisor.pending_restarts(),
        });
    }

    /// Carries out the creates and restarts whose kernels were read meanwhile, and restarts whose
    /// bootloaders have ended.
    fn answer_loaded(&mut self) {
        while let Some(name) = self.service.booted() {
            self.service.restart_loaded(&mut self.supervisor, &name);
            self.service.after();
        }
        loop {
            let began = Instant::now();
            let of_members = !self.service.rest.is_on(began);
            let Some((uid, loaded)) = self.service.loaded(of_members) else { return };
            match loaded {
                AfterLoad::Created(number, reply) => {
                    if let Some(reply) = self.members.answer(number, reply) {
                        self.server.answer(number, &reply);
                    }
                }
                AfterLoad::Restart(name) => {
                    self.service.restart_loaded(&mut self.supervisor, &name);
                }
            }
            if uid != ROOT {
                self.service.rest.had_turn(began, Instant::now());
            }
            self.service.after();
        }
    }

    /// Serves requests, and one guest that has ended if it is time for that.
    ///
    /// Requests come first, so that they wait for one guest at most. But after [`MAX_PASSED_OVER`]
    /// turns a guest gets its turn, even if requests never cease.
    fn work(&mut self) {
        let had_turn = self.serve_requests();
        if self.service.tidy_at().is_some_and(|at| at <= Instant::now()) {
            self.service.tidy();
        }
        if self.service.adapt_at().is_some_and(|at| at <= Instant::now()) {
            self.service.adapt(Instant::now());
        }
        if (had_turn || self.has_requests()) && self.passed_over < MAX_PASSED_OVER {
            self.passed_over += 1;
        } else {
            self.passed_over = 0;
            if self.supervisor.has_turns() {
                self.service.supervise(&mut self.supervisor);
            }
        }
    }

    /// Reads the configuration again on SIGHUP; other signals stop the loop.
    fn handle_signals(&mut self) -> Next {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo != Signal::SIGHUP as u32 {
                return Next::Exit;
            }
            match self.reload() {
                Ok(()) => tracing::info!("the configuration was read again"),
                Err(error) => {
                    tracing::error!("the configuration is unchanged: {}", chain(&error));
                }
            }
        }
        Next::Continue
    }

    fn reload(&mut self) -> Result<(), ReloadError> {
        let settings = (self.read_settings)()?;
        // First: it changes nothing if it fails. If the rest fails, the new address is served already.
        self.observer.listen(settings.metrics)?;
        self.service.configure(&settings)?;
        self.members.limit(settings.members);
        Ok(())
    }
}
