//! The socket that toolstacks connect to, and the lock that keeps a second noxsd away.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, listen, recv,
    send, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, umask};
use nix::sys::time::{TimeVal, TimeValLike};
use noxs_control::Request;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// How long a noxsd that was killed may take to be gone.
pub const DYING: Duration = Duration::from_secs(10);

/// How long one that runs may take to answer.
const ANSWER_SECONDS: i64 = 2;

/// Why noxsd cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another one has the lock.
    #[error("another noxsd is running (it holds {path}); stop it first, or use another --socket")]
    Running {
        /// The lock.
        path: PathBuf,
    },
    /// The folder or the lock cannot be made.
    #[error("cannot make {path}")]
    Make {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {path}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Whether a noxsd answers at the socket, or at least does not close the connection.
fn answers(path: &Path) -> bool {
    let ask = || -> Result<usize, Errno> {
        let socket =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        let request = noxs_control::encode(&Request::Status(None));
        send(socket.as_raw_fd(), &request, MsgFlags::MSG_NOSIGNAL)?;
        recv(socket.as_raw_fd(), &mut [0], MsgFlags::empty())
    };
    matches!(ask(), Ok(1..) | Err(Errno::EAGAIN | Errno::EACCES))
}

/// Being the one noxsd of a socket, as long as the value lives.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock, which is a file beside the socket; its folder is made if it is missing.
    ///
    /// A noxsd that was killed keeps the lock until the kernel has taken all its mappings down. So
    /// if one has the lock but does not answer, this waits up to [`DYING`] for its end.
    ///
    /// # Errors
    /// Another noxsd has it.
    pub fn take(socket: &Path) -> Result<Self, ListenError> {
        if let Some(folder) = socket.parent() {
            fs::create_dir_all(folder)
                .map_err(|source| ListenError::Make { path: folder.to_owned(), source })?;
        }
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| ListenError::Make { path: path.clone(), source })?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, Errno::EAGAIN)) if answers(socket) => Err(ListenError::Running { path }),
            Err((file, Errno::EAGAIN)) => {
                // A thread of its own, because waiting for a lock has no end by itself. If it is
                // left behind, the process is about to end.
                let (sender, receiver) = mpsc::channel();
                thread::spawn(move || sender.send(Flock::lock(file, FlockArg::LockExclusive)));
                match receiver.recv_timeout(DYING) {
                    Ok(Ok(file)) => Ok(Self { _file: file }),
                    Ok(Err((_, errno))) => Err(ListenError::Make { path, source: errno.into() }),
                    Err(_) => Err(ListenError::Running { path }),
                }
            }
            Err((_, errno)) => Err(ListenError::Make { path, source: errno.into() }),
        }
    }

    /// Listens, in place of an earlier noxsd whose socket may still be there. Root and the group
    /// may connect.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(&self, path: &Path, group: Option<u32>) -> Result<UnixListener, ListenError> {
        let listener = || -> io::Result<UnixListener> {
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
        };
        listener().map_err(|source| ListenError::Listen { path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_at_a_time() {
        let folder = std::env::temp_dir().join(format!("noxsd-listener-{}", std::process::id()));
        let path = folder.join("deep/noxsd.sock");
        let lock = Lock::take(&path).unwrap();
        let listener = lock.listen(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        // It listens, but does not answer yet: it is starting.
        assert!(matches!(Lock::take(&path), Err(ListenError::Running { .. })));
        drop(listener);
        // The socket of one that was killed does not keep the next from listening.
        lock.listen(&path, None).unwrap();
        // One that is dying is waited for.
        let next = thread::spawn({
            let path = path.clone();
            move || Lock::take(&path).map(drop)
        });
        drop(lock);
        next.join().unwrap().unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}
