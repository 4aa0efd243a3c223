// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lock beside a daemon's socket: one daemon at a time.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::folder;

/// The mode of a socket's folder: clients that are not root pass through it.
const SOCKET_FOLDER: u32 = 0o755;

/// How long a daemon that was killed may take to exit.
pub const DYING: Duration = Duration::from_secs(10);

/// How long a running daemon may take to answer, in seconds.
const ANSWER_SECONDS: i64 = 2;

/// Why a daemon cannot take its lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error(
        "another {daemon} is running (it holds {path}); stop it first, or use another --socket"
    )]
    Running {
        /// The program's name.
        daemon: &'static str,
        /// The lock.
        path: PathBuf,
    },
    /// The folder or the lock cannot be created.
    #[error("cannot create {path}")]
    Create {
        /// The folder or the lock.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The lock exists but cannot be taken.
    #[error("cannot lock {path}")]
    Lock {
        /// The lock.
        path: PathBuf,
        /// The cause.
        #[source]
        errno: Errno,
    },
}

/// The exclusive right to a socket's path, as long as the value lives.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock, which is a file beside the socket; creates its folder if it is missing.
    ///
    /// A daemon that was killed holds the lock until the kernel has torn down its mappings. So if
    /// the holder does not answer, this waits up to [`DYING`] for its exit. `probe` is a request
    /// that each running `daemon` answers.
    ///
    /// # Errors
    /// Another daemon holds the lock, or the lock cannot be created.
    pub fn take(daemon: &'static str, socket: &Path, probe: &[u8]) -> Result<Self, LockError> {
        if let Some(folder) = socket.parent() {
            folder::create(folder, SOCKET_FOLDER)
                .map_err(|source| LockError::Create { path: folder.to_owned(), source })?;
        }
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| LockError::Create { path: path.clone(), source })?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, Errno::EAGAIN)) if answers(socket, probe) => {
                Err(LockError::Running { daemon, path })
            }
            Err((file, Errno::EAGAIN)) => {
                // Wait in a thread, because waiting for a lock has no time-out. A thread that still
                // waits after the deadline ends with the process.
                let (sender, receiver) = mpsc::channel();
                thread::spawn(move || sender.send(Flock::lock(file, FlockArg::LockExclusive)));
                match receiver.recv_timeout(DYING) {
                    Ok(Ok(file)) => Ok(Self { _file: file }),
                    Ok(Err((_, errno))) => Err(LockError::Lock { path, errno }),
                    Err(_) => Err(LockError::Running { daemon, path }),
                }
            }
            Err((_, errno)) => Err(LockError::Lock { path, errno }),
        }
    }
}

/// Returns whether a daemon answers at the socket, or at least keeps the connection open.
fn answers(path: &Path, probe: &[u8]) -> bool {
    let ask = || -> Result<usize, Errno> {
        let socket =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        // Connecting waits as long as sending: a daemon that is stopped accepts nothing.
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        send(socket.as_raw_fd(), probe, MsgFlags::MSG_NOSIGNAL)?;
        recv(socket.as_raw_fd(), &mut [0], MsgFlags::empty())
    };
    matches!(ask(), Ok(1..) | Err(Errno::EAGAIN | Errno::EACCES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener;

    #[test]
    fn a_second_daemon_is_refused_and_one_that_is_dying_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/testd.sock");
        let lock = Lock::take("testd", &path, b"?").unwrap();
        let socket = listener::listen(&path, None).unwrap();
        // It listens but does not answer yet, like a daemon that is starting.
        let second = Lock::take("testd", &path, b"?");
        assert!(matches!(second, Err(LockError::Running { .. })), "{second:?}");
        drop(socket);
        // Now the path exists and no process listens, as after a kill.
        let next = thread::spawn({
            let path = path.clone();
            move || Lock::take("testd", &path, b"?").map(drop)
        });
        drop(lock);
        next.join().unwrap().unwrap();
    }
}
