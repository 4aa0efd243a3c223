// SPDX-License-Identifier: GPL-3.0-or-later
//! The process: lock, cleanup of what an earlier `chaosd` left, socket, signals, and the loop.

use std::fs;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chaos::clients::chaosd;
use chaos::clients::chaosd::protocol::{self, Request};
use chaos::guests::{self, Cleared, Host, LifecycleError};
use daemon::chain::chain;
use daemon::listener::{self, ListenError};
use daemon::lock::{Lock, LockError};
use daemon::system::{self, GroupError};
use mio::{Poll, Waker};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::event_loop::{EventLoop, WORKERS};
use crate::heap;
use crate::loader::Loader;
use crate::member_server::{MemberServer, SUBORDINATE_USERS};
use crate::observe::{HostSource, Observer, ObserverError};
use crate::refill::{Refill, RefillError};
use crate::removal::Removals;
use crate::server::Server;
use crate::service::Service;
use crate::settings::{Settings, SettingsError};

/// Why `chaosd` cannot start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is invalid or cannot be read.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Xen or a flavour's kernel cannot be used.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// The refill thread cannot start.
    #[error(transparent)]
    Refill(#[from] RefillError),
    /// Another `chaosd` runs, or the lock cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The socket cannot be created.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Metrics and events cannot be served.
    #[error(transparent)]
    Observer(#[from] ObserverError),
    /// The group does not exist.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The kernel cannot wait for events.
    #[error("cannot wait for events")]
    Loop(#[source] io::Error),
}

/// Serves until SIGTERM or SIGINT. `read_settings` reads the configuration, now and on SIGHUP.
///
/// # Errors
/// `chaosd` cannot start, or the kernel cannot wait for events.
pub fn run(
    path: &Path,
    group: Option<&str>,
    read_settings: impl Fn() -> Result<Settings, SettingsError>,
) -> Result<(), Failure> {
    heap::keep_freed_memory();
    let settings = read_settings()?;
    let group = find_group(group)?;
    // Each shell has an open file.
    system::raise_file_limit(None);
    let probe = protocol::encode(&Request::Pool { from: 0 }).unwrap_or_default();
    let _lock = Lock::take("chaosd", path, &probe)?;
    // Block the signals before other threads start, which inherit the mask, but after the wait for
    // the lock, so that a signal ends the wait.
    let signals = block_signals().map_err(|errno| Failure::Loop(errno.into()))?;
    let host = Host::open_caching()?;
    host.records.make_private().map_err(LifecycleError::from)?;
    let report = |domid, error: LifecycleError| {
        tracing::error!("cannot deal with what is left of domain {domid}: {}", chain(&error));
    };
    match guests::clear(&host, report)? {
        Cleared { incomplete: 0, leftovers: 0 } => {}
        Cleared { incomplete, leftovers } => tracing::info!(
            "removed {incomplete} incomplete domains, and {leftovers} folders and names of domains that \
             are gone"
        ),
    }
    let poll = Poll::new().map_err(Failure::Loop)?;
    let waker = Arc::new(Waker::new(poll.registry(), WORKERS).map_err(Failure::Loop)?);
    let removals = Removals::start(Arc::clone(&waker)).map_err(Failure::Loop)?;
    let loader = Loader::start(&waker).map_err(Failure::Loop)?;
    let mut service = Service::new(host, Refill::start(Arc::clone(&waker))?, loader);
    service.wake_with(Arc::clone(&waker));
    service.take_over()?;
    service.configure(&settings)?;
    let members_path = chaosd::members_socket(path);
    let of_members = listen(&members_path, group)?;
    let of_root = listen(path, None)?;
    let registry = poll.registry().try_clone().map_err(Failure::Loop)?;
    let server = Server::new(of_root, registry).map_err(Failure::Loop)?;
    let subordinate_users = Path::new(SUBORDINATE_USERS);
    let http_path = chaosd::http_socket(path);
    let of_http = appear(&http_path, listener::listen_stream)?;
    let observer = Observer::start(of_http, settings.metrics, Arc::clone(&waker), open_source)?;
    service.report_to(observer.reporter());
    let members = MemberServer::start(of_members, waker, settings.members, subordinate_users)
        .map_err(Failure::Loop)?;
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!("cannot notify the service manager that chaosd is ready: {error}");
    }
    tracing::info!("ready on {}", path.display());

    EventLoop::new(poll, signals, read_settings, service, (server, members, observer), removals)
        .and_then(|event_loop| event_loop.run([path, &members_path, &http_path]))
        .map_err(Failure::Loop)
}

/// Listens at `path`, where the socket appears in one step: clients that wait for it can connect at
/// once.
fn listen(path: &Path, group: Option<u32>) -> Result<UnixListener, ListenError> {
    appear(path, |path| listener::listen(path, group))
}

/// Opens this host for the thread that serves metrics and events.
fn open_source() -> Option<HostSource> {
    match HostSource::open() {
        Ok(source) => Some(source),
        Err(error) => {
            tracing::error!(
                "metrics and events are not served until chaosd is restarted: {}",
                chain(&error)
            );
            None
        }
    }
}

fn appear(
    path: &Path,
    listen: impl FnOnce(&Path) -> Result<UnixListener, ListenError>,
) -> Result<UnixListener, ListenError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let listener = listen(&new)?;
    fs::rename(&new, path).map_err(|source| ListenError { path: path.to_owned(), source })?;
    Ok(listener)
}

/// Returns the number of the group that may connect. Without a name, a failing look-up costs only
/// the group's access to the socket.
fn find_group(name: Option<&str>) -> Result<Option<u32>, GroupError> {
    match system::group(name) {
        Err(error @ GroupError::System { .. }) if name.is_none() => {
            tracing::warn!("no group may use the socket; name one with --group: {}", chain(&error));
            Ok(None)
        }
        found => found,
    }
}

/// Blocks the signals that `chaosd` handles, and returns a descriptor to read them from.
fn block_signals() -> Result<SignalFd, Errno> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}
