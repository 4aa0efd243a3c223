//! The process: its socket, its signals, its loop.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use chaos::clients::chaosd::protocol::{self, Request};
use chaos::guests::{self, Cleared, Host, LifecycleError};
use daemon::chain::chain;
use daemon::listener::{self, ListenError};
use daemon::lock::{Lock, LockError};
use daemon::system::{self, GroupError};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::refill::{Refill, RefillError};
use crate::server::{FIRST_CLIENT, LISTENER, Server};
use crate::service::Service;
use crate::settings::{Settings, SettingsError};
use crate::supervise::{RenewedWatch, Supervisor};

const REFILL: Token = Token(1);
const SIGNALS: Token = Token(2);
const ENDS: Token = Token(3);

/// So many requests may go before a guest that has ended.
const MAX_PASSED_OVER: u32 = 16;

/// Why `chaosd` does not start or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Xen, or a flavour's kernel.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// The other thread.
    #[error(transparent)]
    Refill(#[from] RefillError),
    /// Another one runs, or the lock cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The socket cannot be created.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is no such group.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Waiting failed.
    #[error("cannot wait for events")]
    Loop(#[source] io::Error),
}

/// Serves until SIGTERM or SIGINT. `read` reads the configuration, now and on SIGHUP.
///
/// # Errors
/// It cannot start, or cannot wait for events any more.
pub fn run(
    path: &Path,
    group: Option<&str>,
    read: impl Fn() -> Result<Settings, SettingsError>,
) -> Result<(), Failure> {
    let settings = read()?;
    let group = system::group(group)?;
    // Before there are other threads, so that none of them takes the signals.
    let signals = signals().map_err(|errno| Failure::Loop(errno.into()))?;
    // Each shell has a file.
    system::raise_file_limit(None);
    let probe = protocol::encode(&Request::Pool).unwrap_or_default();
    let _lock = Lock::take("chaosd", path, &probe)?;
    let host = Host::open_caching()?;
    match guests::clear(&host)? {
        Cleared { incomplete: 0, leftovers: 0 } => {}
        Cleared { incomplete, leftovers } => tracing::info!(
            "removed {incomplete} incomplete domains, {leftovers} leftovers of others"
        ),
    }
    let mut poll = Poll::new().map_err(Failure::Loop)?;
    let waker = Waker::new(poll.registry(), REFILL).map_err(Failure::Loop)?;
    let fd = signals.as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&fd), SIGNALS, Interest::READABLE)
        .map_err(Failure::Loop)?;
    let mut service = Service::new(host, Refill::start(waker)?);
    service.configure(&settings)?;
    let listener = listener::listen(path, group)?;
    let registry = poll.registry().try_clone().map_err(Failure::Loop)?;
    let mut server = Server::new(listener, registry).map_err(Failure::Loop)?;
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!("cannot notify the service manager that chaosd is ready: {error}");
    }
    tracing::info!("ready on {}", path.display());

    let (mut supervisor, mut watch) = (Supervisor::default(), RenewedWatch::default());
    supervisor.take_over(service.host());
    supervisor.look(service.host());
    let mut passed_over = 0;
    let mut events = Events::with_capacity(64);
    loop {
        if watch.current().is_none() && watch.retry().is_none_or(|at| at <= Instant::now()) {
            let is_new = watch.renew(service.host(), Instant::now());
            if let Some(watch) = watch.current().filter(|_| is_new) {
                let fd = watch.as_fd().as_raw_fd();
                poll.registry()
                    .register(&mut SourceFd(&fd), ENDS, Interest::READABLE)
                    .map_err(Failure::Loop)?;
                supervisor.look(service.host());
            }
        }
        supervisor.look_at_clock(service.host(), Instant::now());
        // A client that waits for its turn is served before anything is waited for.
        let timeout = if server.has_turns() || supervisor.has_turns() {
            Some(Duration::ZERO)
        } else {
            let now = Instant::now();
            let next = [watch.retry(), supervisor.retry(now), service.tidy_at()];
            next.into_iter().flatten().min().map(|at| at.saturating_duration_since(now))
        };
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result.map_err(Failure::Loop)?,
        }
        let mut ended = false;
        for event in &events {
            match event.token() {
                LISTENER => server.accept(),
                REFILL => service.collect(),
                SIGNALS => {
                    ended |= handle(&signals, &mut service, &read) == Next::End;
                    supervisor.look(service.host());
                }
                ENDS => {
                    let told = watch.take(Instant::now());
                    if told {
                        supervisor.note_end();
                    }
                }
                token if token.0 >= FIRST_CLIENT => server.readable(token),
                _ => {}
            }
        }
        if ended {
            service.shut_down();
            // A client must not find a socket that no process listens on.
            let _ = fs::remove_file(path);
            return Ok(());
        }
        let had_turn = server.turn(&mut service);
        if service.tidy_at().is_some_and(|at| at <= Instant::now()) {
            service.tidy();
        }
        // One guest that has ended at a time, after the requests that wait, so that those wait for
        // one at most; but requests that never end do not keep guests from their restart.
        if (had_turn || server.has_turns()) && passed_over < MAX_PASSED_OVER {
            passed_over += 1;
        } else {
            passed_over = 0;
            if supervisor.has_turns() {
                service.supervise(&mut supervisor);
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    End,
}

fn handle(
    signals: &SignalFd,
    service: &mut Service,
    read: &impl Fn() -> Result<Settings, SettingsError>,
) -> Next {
    while let Ok(Some(signal)) = signals.read_signal() {
        if signal.ssi_signo != Signal::SIGHUP as u32 {
            return Next::End;
        }
        let settings = read().map_err(Failure::from);
        match settings.and_then(|settings| Ok(service.configure(&settings)?)) {
            Ok(()) => tracing::info!("the configuration was read again"),
            Err(error) => tracing::error!("the configuration is unchanged: {}", chain(&error)),
        }
    }
    Next::GoOn
}

fn signals() -> Result<SignalFd, Errno> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}
