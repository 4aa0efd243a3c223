// SPDX-License-Identifier: GPL-3.0-or-later
//! The client of `chaosd`.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use daemon::client::{ClientError, Connection, Daemon};
use daemon::wait;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};

use super::protocol::{self, Refusal, Reply, Request};
use crate::clients::visible::Visible;
use crate::failure::FailureClass;

/// What a client must know of `chaosd`. The deadline allows for requests that came earlier, each of
/// which takes some milliseconds.
pub static CHAOSD: Daemon = Daemon {
    name: "chaosd",
    start: "chaosd",
    access: "join group chaos, or run as root",
    deadline: Duration::from_secs(30),
    limits_sending: true,
};

/// How long a client waits for a `chaosd` that is restarted. A new one waits as long for its
/// predecessor.
const RETURNS: Duration = Duration::from_secs(10);

/// Why `chaosd` did not carry out a request.
pub type DaemonError = ClientError<Refusal>;

/// Bytes of a file in one packet.
const CHUNK: usize = protocol::MAX_PACKET;

/// Why a file was not uploaded.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// `chaosd` did not take it.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The file cannot be read.
    #[error(transparent)]
    Read(io::Error),
}

/// Returns the class of a failure.
#[must_use]
pub fn class(error: &DaemonError) -> FailureClass {
    match error {
        DaemonError::NotRunning { .. } | DaemonError::Permission { .. } => FailureClass::NoDom0,
        DaemonError::Refused(refusal) => refusal.class,
        DaemonError::TooLong { .. } => FailureClass::WrongInput,
        _ => FailureClass::Failed,
    }
}

/// Returns whether a `chaosd` listens at a socket.
#[must_use]
pub fn is_running(path: &Path) -> bool {
    !matches!(Chaosd::connect(path), Err(DaemonError::NotRunning { .. }))
}

/// A connection to `chaosd`.
#[derive(Debug)]
pub struct Chaosd {
    path: PathBuf,
    /// `None` after it was lost.
    connection: RefCell<Option<Connection>>,
}

impl Chaosd {
    /// Connects.
    ///
    /// # Errors
    /// [`DaemonError::NotRunning`] if no process listens; [`DaemonError::Permission`] if this user
    /// may not connect.
    pub fn connect(path: &Path) -> Result<Self, DaemonError> {
        let connection = RefCell::new(Some(Connection::connect(&CHAOSD, path)?));
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Returns a client that has lost its connection.
    #[cfg(test)]
    pub(crate) fn connect_later(path: &Path) -> Self {
        Self { path: path.to_owned(), connection: RefCell::new(None) }
    }

    /// Connects again, after [`DaemonError::Closed`].
    ///
    /// # Errors
    /// As [`Chaosd::connect`].
    pub fn reconnect(&self) -> Result<(), DaemonError> {
        *self.connection.borrow_mut() = Some(Connection::connect(&CHAOSD, &self.path)?);
        Ok(())
    }

    /// Waits up to 10 s until the `chaosd` of a lost connection has exited: until then, a domain
    /// that it was creating looks as if it still were.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn wait_for_exit(&self) -> Result<(), DaemonError> {
        let system = |doing| move |errno| DaemonError::System { daemon: &CHAOSD, doing, errno };
        let Some(connection) = self.connection.take() else { return Ok(()) };
        let socket = connection.into_socket();
        let peer = getsockopt(&socket, PeerCredentials).map_err(system("identify"))?;
        let pid = Pid::from_raw(peer.pid());
        // A process that waited for its own exit would wait in vain.
        let Some(pid) = pid.filter(|pid| *pid != getpid()) else { return Ok(()) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => {
                wait::readable(process.as_fd(), Instant::now() + RETURNS)
                    .map_err(system("wait for the exit of"))?;
                Ok(())
            }
            // It is gone.
            Err(_) => Ok(()),
        }
    }

    /// Waits up to 10 s for a `chaosd` that is being restarted, and connects to it.
    ///
    /// # Errors
    /// [`DaemonError::NotRunning`] if none listens in time; or as [`Chaosd::connect`].
    pub fn reconnect_when_it_returns(&self) -> Result<(), DaemonError> {
        let deadline = Instant::now() + RETURNS;
        let system = |errno| DaemonError::System { daemon: &CHAOSD, doing: "wait for", errno };
        let events =
            Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(system)?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        // chaosd renames its socket into place when it listens.
        events.add_watch(folder, AddWatchFlags::IN_MOVED_TO).map_err(system)?;
        loop {
            match self.reconnect() {
                Err(DaemonError::NotRunning { .. })
                    if wait::readable(events.as_fd(), deadline).map_err(system)? =>
                {
                    events.read_events().map_err(system)?;
                }
                result => return result,
            }
        }
    }

    /// Sends a request with its files, and waits for the reply.
    ///
    /// # Errors
    /// `chaosd` refused, or did not return a valid reply in time.
    pub fn ask(&self, request: &Request, files: &[BorrowedFd<'_>]) -> Result<Reply, DaemonError> {
        let packet = protocol::encode(request)
            .ok_or(DaemonError::TooLong { daemon: &CHAOSD, limit: protocol::MAX_PACKET })?;
        match self.with(|connection| connection.send(&packet, files)) {
            // It may say why it has closed the connection.
            Err(closed @ DaemonError::Closed(_)) => match self.reply() {
                Err(refused @ DaemonError::Refused(_)) => Err(refused),
                _ => Err(closed),
            },
            result => result.and_then(|()| self.reply()),
        }
    }

    /// Uploads a file for the next create. Bytes that the file gets meanwhile are left out.
    ///
    /// # Errors
    /// `chaosd` refused it or did not answer in time; the file cannot be read, or has shrunk.
    pub fn upload(&self, file: &File, length: u64) -> Result<(), UploadError> {
        self.expect_done(&Request::Upload { length })?;
        let mut left = length;
        let mut chunk = vec![0; CHUNK];
        let mut file = file.take(length);
        while left > 0 {
            let count = match file.read(&mut chunk) {
                Ok(0) => return Err(UploadError::Read(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(UploadError::Read(error)),
            };
            self.with(|connection| connection.send(&chunk[..count], &[]))?;
            left -= count as u64;
        }
        match self.reply()? {
            Reply::Done => Ok(()),
            _ => Err(DaemonError::Unexpected(&CHAOSD).into()),
        }
    }

    fn expect_done(&self, request: &Request) -> Result<(), DaemonError> {
        match self.ask(request, &[])? {
            Reply::Done => Ok(()),
            _ => Err(DaemonError::Unexpected(&CHAOSD)),
        }
    }

    fn with<T>(
        &self,
        action: impl FnOnce(&Connection) -> Result<T, DaemonError>,
    ) -> Result<T, DaemonError> {
        self.connection.borrow().as_ref().map_or(Err(DaemonError::Closed(&CHAOSD)), action)
    }

    fn reply(&self) -> Result<Reply, DaemonError> {
        let receive = || self.with(|connection| connection.receive_up_to(protocol::MAX_PACKET));
        let packet = match receive() {
            // The kernel reports that a request was dropped before it delivers a last reply.
            Err(DaemonError::Closed(_)) => receive(),
            result => result,
        }?;
        let mut reply = protocol::decode(&packet)
            .map_err(|source| DaemonError::Answer { daemon: &CHAOSD, source })?;
        Reply::make_visible(&mut reply);
        match reply {
            Reply::Refused(refusal) => Err(refusal.into()),
            reply => Ok(reply),
        }
    }
}
