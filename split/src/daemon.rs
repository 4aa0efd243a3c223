//! The process: its socket, its signals, its loop.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chaos::chain::chain;
use chaos::guests::{self, Cleared, Host, LifecycleError};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Group;

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

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// The group that may connect if there is one.
const GROUP: &str = "chaos";

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
    /// Another one runs.
    #[error("another chaosd is running (it holds {0}); stop it first, or use another --socket")]
    Running(PathBuf),
    /// There is no such group.
    #[error("there is no group {0}")]
    NoGroup(String),
    /// The socket cannot be made.
    #[error("cannot listen on {path}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
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
    let group = find_group(group)?;
    // Before there are other threads, so that none of them takes the signals.
    let signals = signals().map_err(|errno| Failure::Loop(errno.into()))?;
    raise_file_limit();
    let _lock = lock(path)?;
    let host = Host::open_caching()?;
    match guests::clear(&host)? {
        Cleared { half_made: 0, traces: 0 } => {}
        Cleared { half_made, traces } => tracing::info!(
            "cleared away: {half_made} domains that were left half-made, {traces} traces of others"
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
    let listener = listener(path, group)
        .map_err(|source| Failure::Listen { path: path.to_owned(), source })?;
    let mut server = Server::new(listener, poll.registry()).map_err(Failure::Loop)?;
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!("cannot say that chaosd is ready: {error}");
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
        let timeout = match server.has_turns() || supervisor.has_turns() {
            true => Some(Duration::ZERO),
            false => {
                let now = Instant::now();
                let next = [watch.retry(), supervisor.retry(now), service.tidy_at()];
                next.into_iter().flatten().min().map(|at| at.saturating_duration_since(now))
            }
        };
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result.map_err(Failure::Loop)?,
        }
        let mut ended = false;
        for event in &events {
            match event.token() {
                LISTENER => server.accept(poll.registry()).map_err(Failure::Loop)?,
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
            // Nobody is to find a socket that nobody listens on.
            let _ = fs::remove_file(path);
            return Ok(());
        }
        server.turn(&mut service, poll.registry());
        if service.tidy_at().is_some_and(|at| at <= Instant::now()) {
            service.tidy();
        }
        // One guest that has ended at a time, after the requests that wait, so that those wait for
        // one at most; but requests that never end do not keep guests from their next life.
        match server.has_turns() && passed_over < MAX_PASSED_OVER {
            true => passed_over += 1,
            false => {
                passed_over = 0;
                if supervisor.has_turns() {
                    service.supervise(&mut supervisor);
                }
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
        let done = match read() {
            Ok(settings) => service.configure(&settings).map_err(|error| chain(&error)),
            Err(error) => Err(chain(&error)),
        };
        match done {
            Ok(()) => tracing::info!("the configuration is read again"),
            Err(error) => tracing::error!("the configuration stays as it was: {error}"),
        }
    }
    Next::GoOn
}

/// Lets the process have as many files as it may: each shell has one.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        tracing::warn!("cannot raise the limit of open files: {errno}");
    }
}

fn signals() -> Result<SignalFd, Errno> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

fn find_group(name: Option<&str>) -> Result<Option<u32>, Failure> {
    let group = Group::from_name(name.unwrap_or(GROUP)).ok().flatten();
    match (name, group) {
        (_, Some(group)) => Ok(Some(group.gid.as_raw())),
        (None, None) => Ok(None),
        (Some(name), None) => Err(Failure::NoGroup(name.to_owned())),
    }
}

/// Takes the lock beside the socket, which is held as long as the process lives.
fn lock(path: &Path) -> Result<Flock<File>, Failure> {
    let failed = |source| Failure::Listen { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let lock = PathBuf::from(lock);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock)
        .map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EAGAIN => Failure::Running(lock),
        errno => failed(errno.into()),
    })
}

/// Listens, in place of an earlier one whose socket may still be there. Root and the group may
/// connect.
fn listener(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    // Nobody but root may connect before the group and the mode are set.
    let mask = umask(Mode::from_bits_truncate(0o177));
    let bound = bind(socket.as_raw_fd(), &UnixAddr::new(path)?);
    umask(mask);
    bound?;
    chown(path, None, group)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(UnixListener::from(socket))
}
