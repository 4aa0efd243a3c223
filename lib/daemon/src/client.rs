// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client's end: connects to a daemon and exchanges packets with it.

use std::error::Error;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, recv};

use crate::encoding::DecodeError;
use crate::packet;

/// The properties of a daemon that its clients need.
#[derive(Debug, PartialEq, Eq)]
pub struct Daemon {
    /// The program's name.
    pub name: &'static str,
    /// The command that starts it, for an error's text.
    pub start: &'static str,
    /// How a user gets access to its socket, for an error's text.
    pub access: &'static str,
    /// How long it may take to answer, in whole seconds.
    pub deadline: Duration,
    /// Whether the deadline applies to sending, too: for a client that sends more requests before
    /// it has read all replies.
    pub limits_sending: bool,
}

/// Why a request to a daemon failed. `R` is the daemon's reply when it refuses.
#[derive(Debug, thiserror::Error)]
pub enum ClientError<R: Error + 'static> {
    /// No process listens on the socket.
    #[error(
        "{} is not running (no process listens on {path}); start it with: {}",
        daemon.name, daemon.start
    )]
    NotRunning {
        /// The daemon.
        daemon: &'static Daemon,
        /// The socket.
        path: PathBuf,
    },
    /// This user may not use the socket.
    #[error("no permission to use {}'s socket {path}; {}", daemon.name, daemon.access)]
    Permission {
        /// The daemon.
        daemon: &'static Daemon,
        /// The socket.
        path: PathBuf,
    },
    /// No answer came in time.
    #[error("{} has not answered within {} s; see its log", .0.name, .0.deadline.as_secs())]
    Silent(&'static Daemon),
    /// The daemon closed the connection.
    #[error("{} closed the connection; see its log", .0.name)]
    Closed(&'static Daemon),
    /// The daemon refused.
    #[error(transparent)]
    Refused(#[from] R),
    /// The answer cannot be decoded.
    #[error("{}'s answer cannot be decoded", daemon.name)]
    Answer {
        /// The daemon.
        daemon: &'static Daemon,
        /// The cause.
        #[source]
        source: DecodeError,
    },
    /// The answer belongs to another request.
    #[error("{}'s answer does not match the request; see its log", .0.name)]
    Unexpected(&'static Daemon),
    /// The request is longer than a packet may be.
    #[error("the request to {} is too long: at most {limit} bytes", daemon.name)]
    TooLong {
        /// The daemon.
        daemon: &'static Daemon,
        /// The longest packet in bytes.
        limit: usize,
    },
    /// A system call failed.
    #[error("cannot {doing} {}", daemon.name)]
    System {
        /// The daemon.
        daemon: &'static Daemon,
        /// What was tried.
        doing: &'static str,
        /// The system's answer.
        #[source]
        errno: Errno,
    },
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    daemon: &'static Daemon,
}

impl Connection {
    /// Connects to the daemon that listens at `path`.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] if no process listens there, [`ClientError::Permission`] if this
    /// user may not connect, [`ClientError::Silent`] if the daemon does not accept in time.
    pub fn connect<R: Error>(daemon: &'static Daemon, path: &Path) -> Result<Self, ClientError<R>> {
        let system = |doing| move |errno| ClientError::System { daemon, doing, errno };
        let address = UnixAddr::new(path).map_err(system("find"))?;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
            .map_err(system("open a socket to"))?;
        let deadline = TimeVal::seconds(daemon.deadline.as_secs().cast_signed());
        let limit = "set a deadline for";
        setsockopt(&socket, sockopt::ReceiveTimeout, &deadline).map_err(system(limit))?;
        if daemon.limits_sending {
            setsockopt(&socket, sockopt::SendTimeout, &deadline).map_err(system(limit))?;
        }
        let path = || path.to_owned();
        connect(socket.as_raw_fd(), &address).map_err(|errno| match errno {
            Errno::ENOENT | Errno::ECONNREFUSED => ClientError::NotRunning { daemon, path: path() },
            Errno::EACCES | Errno::EPERM => ClientError::Permission { daemon, path: path() },
            Errno::EAGAIN => ClientError::Silent(daemon),
            errno => ClientError::System { daemon, doing: "connect to", errno },
        })?;
        Ok(Self { socket, daemon })
    }

    /// Sends a packet with files.
    ///
    /// # Errors
    /// [`ClientError::Closed`] if the daemon has closed the connection, [`ClientError::Silent`] if
    /// it does not take the packet in time.
    pub fn send<R: Error>(
        &self,
        packet: &[u8],
        files: &[BorrowedFd<'_>],
    ) -> Result<(), ClientError<R>> {
        let daemon = self.daemon;
        packet::send_waiting(&self.socket, packet, files).map_err(|errno| match errno {
            Errno::EAGAIN => ClientError::Silent(daemon),
            Errno::EPIPE | Errno::ECONNRESET => ClientError::Closed(daemon),
            errno => ClientError::System { daemon, doing: "send a request to", errno },
        })
    }

    /// Waits for a packet and returns its length in bytes. Files that come with it are closed.
    ///
    /// # Errors
    /// [`ClientError::Closed`] if the daemon has closed the connection, [`ClientError::Silent`] if
    /// no packet comes in time, [`ClientError::Unexpected`] if it is longer than the buffer.
    pub fn receive<R: Error>(&self, buffer: &mut [u8]) -> Result<usize, ClientError<R>> {
        let daemon = self.daemon;
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        match recvmsg::<()>(fd, &mut parts, None, MsgFlags::empty()) {
            Ok(message) if message.bytes == 0 => Err(ClientError::Closed(daemon)),
            Ok(message) if message.flags.contains(MsgFlags::MSG_TRUNC) => {
                Err(ClientError::Unexpected(daemon))
            }
            Ok(message) => Ok(message.bytes),
            Err(errno) => Err(self.receive_error(errno)),
        }
    }

    fn receive_error<R: Error>(&self, errno: Errno) -> ClientError<R> {
        match errno {
            Errno::EAGAIN => ClientError::Silent(self.daemon),
            Errno::ECONNRESET => ClientError::Closed(self.daemon),
            errno => ClientError::System { daemon: self.daemon, doing: "receive from", errno },
        }
    }

    /// Waits for a packet of at most `limit` bytes and returns it. A process that has just started
    /// gets only those pages of memory that the packet fills.
    ///
    /// # Errors
    /// As [`Connection::receive`].
    pub fn receive_up_to<R: Error>(&self, limit: usize) -> Result<Vec<u8>, ClientError<R>> {
        let mut packet = Vec::with_capacity(limit);
        // With `TRUNC` the kernel returns the packet's length, even if it is longer than the buffer.
        match recv(&self.socket, spare_capacity(&mut packet), RecvFlags::TRUNC) {
            Ok((_, 0)) => Err(ClientError::Closed(self.daemon)),
            Ok((_, length)) if length > packet.len() => Err(ClientError::Unexpected(self.daemon)),
            Ok(_) => Ok(packet),
            Err(errno) => Err(self.receive_error(Errno::from_raw(errno.raw_os_error()))),
        }
    }

    /// Returns whether the daemon has not closed the connection, as it does when it ends. Does not
    /// wait.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match recv(&self.socket, &mut [0; 1], flags) {
            Ok((_, length)) => length > 0,
            Err(errno) => errno == rustix::io::Errno::AGAIN,
        }
    }

    /// Returns the number of the daemon's process: the one that began to listen on the socket.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn process<R: Error>(&self) -> Result<i32, ClientError<R>> {
        let daemon = self.daemon;
        let peer = getsockopt(&self.socket, sockopt::PeerCredentials);
        let peer =
            peer.map_err(|errno| ClientError::System { daemon, doing: "identify", errno })?;
        Ok(peer.pid())
    }

    /// Returns the socket, for data that follows the last reply. It has no deadline: nothing may come
    /// for long.
    #[must_use]
    pub fn into_socket(self) -> OwnedFd {
        // That cannot fail for a socket. If it does, the reader sees EAGAIN.
        let _ = setsockopt(&self.socket, sockopt::ReceiveTimeout, &TimeVal::zero());
        let _ = setsockopt(&self.socket, sockopt::SendTimeout, &TimeVal::zero());
        self.socket
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::socketpair;
    use thiserror::Error;

    use super::*;

    static DAEMON: Daemon = Daemon {
        name: "testd",
        start: "testd --now",
        access: "run it as root",
        deadline: Duration::from_secs(1),
        limits_sending: true,
    };

    #[derive(Debug, Error)]
    #[error("no")]
    struct No;

    fn pair() -> (Connection, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (here, there) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        setsockopt(&here, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20)).unwrap();
        (Connection { socket: here, daemon: &DAEMON }, there)
    }

    #[test]
    fn the_error_without_a_daemon_says_how_to_start_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let error = Connection::connect::<No>(&DAEMON, &path).unwrap_err();
        assert!(matches!(error, ClientError::NotRunning { .. }));
        let text = error.to_string();
        assert!(text.starts_with("testd is not running"), "{text}");
        assert!(text.ends_with("start it with: testd --now"), "{text}");
    }

    #[test]
    fn a_closed_connection_a_time_out_and_a_long_packet_have_different_errors() {
        let (here, there) = pair();
        let mut buffer = [0; 4];
        let silent = here.receive::<No>(&mut buffer);
        assert!(matches!(silent, Err(ClientError::Silent(_))), "{silent:?}");
        packet::send(&there, b"four", &[]).unwrap();
        assert!(here.is_open());
        assert_eq!(here.receive::<No>(&mut buffer).unwrap(), 4);
        assert!(here.is_open());
        packet::send(&there, b"fives", &[]).unwrap();
        let long = here.receive::<No>(&mut buffer);
        assert!(matches!(long, Err(ClientError::Unexpected(_))), "{long:?}");
        packet::send(&there, b"four", &[]).unwrap();
        assert_eq!(here.receive_up_to::<No>(4).unwrap(), b"four");
        let silent = here.receive_up_to::<No>(4);
        assert!(matches!(silent, Err(ClientError::Silent(_))), "{silent:?}");
        packet::send(&there, b"fives", &[]).unwrap();
        let long = here.receive_up_to::<No>(4);
        assert!(matches!(long, Err(ClientError::Unexpected(_))), "{long:?}");
        drop(there);
        assert!(!here.is_open());
        let closed = here.receive_up_to::<No>(4);
        assert!(matches!(closed, Err(ClientError::Closed(_))), "{closed:?}");
        let closed = here.receive::<No>(&mut buffer);
        assert!(matches!(closed, Err(ClientError::Closed(_))), "{closed:?}");
        let closed = here.send::<No>(b"x", &[]);
        assert!(matches!(closed, Err(ClientError::Closed(_))), "{closed:?}");
    }

    #[test]
    fn what_follows_the_last_reply_has_no_deadline() {
        let (here, _there) = pair();
        setsockopt(&here.socket, sockopt::SendTimeout, &TimeVal::seconds(1)).unwrap();
        let socket = here.into_socket();
        assert_eq!(getsockopt(&socket, sockopt::ReceiveTimeout).unwrap(), TimeVal::zero());
        assert_eq!(getsockopt(&socket, sockopt::SendTimeout).unwrap(), TimeVal::zero());
    }
}
