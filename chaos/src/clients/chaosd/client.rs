//! The client's end.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, recvmsg,
    sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use noxs_control::encoding::DecodeError;
use thiserror::Error;

use super::protocol::{self, Refusal, Reply, Request};
use crate::failure::FailureClass;

/// How long `chaosd` may take to answer: it may have other requests before this one, each of
/// which takes some milliseconds.
const DEADLINE: Duration = Duration::from_secs(30);

/// Longest answer that is taken on the stack.
const REPLY: usize = 4096;

/// Why `chaosd` did not do what was asked.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Nobody listens.
    #[error("chaosd is not running (nobody listens on {path}); start it with: chaosd")]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket may not be used by this user.
    #[error("no permission to use chaosd's socket {path}; join group chaos, or run as root")]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// No answer in time.
    #[error("chaosd has not answered within {} s; see its log", DEADLINE.as_secs())]
    Silent,
    /// It closed the connection.
    #[error("chaosd closed the connection; see its log")]
    Closed,
    /// It refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The answer is no answer.
    #[error("chaosd's answer cannot be read")]
    Answer(#[from] DecodeError),
    /// The answer belongs to another request.
    #[error("chaosd answered something that was not asked")]
    Unexpected,
    /// The request is longer than a packet.
    #[error("the request is too long: {} bytes at most", protocol::MAX_PACKET)]
    TooLong,
    /// A system call failed.
    #[error("cannot {doing} chaosd")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The system's answer.
        #[source]
        errno: Errno,
    },
}

impl DaemonError {
    /// What kind of failure it is.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::NotRunning { .. } | Self::Permission { .. } => FailureClass::NoDom0,
            Self::Refused(refusal) => refusal.class,
            Self::TooLong => FailureClass::WrongInput,
            _ => FailureClass::Failed,
        }
    }
}

/// A connection to `chaosd`.
#[derive(Debug)]
pub struct Chaosd {
    socket: OwnedFd,
}

impl Chaosd {
    /// Connects.
    ///
    /// # Errors
    /// [`DaemonError::NotRunning`] if nobody listens; or this user may not.
    pub fn connect(path: &Path) -> Result<Self, DaemonError> {
        let system = |doing| move |errno| DaemonError::System { doing, errno };
        let address = UnixAddr::new(path).map_err(system("find"))?;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
            .map_err(system("open a socket to"))?;
        connect(socket.as_raw_fd(), &address).map_err(|errno| match errno {
            Errno::ENOENT | Errno::ECONNREFUSED => {
                DaemonError::NotRunning { path: path.to_owned() }
            }
            Errno::EACCES | Errno::EPERM => DaemonError::Permission { path: path.to_owned() },
            errno => DaemonError::System { doing: "connect to", errno },
        })?;
        let deadline = TimeVal::seconds(DEADLINE.as_secs().cast_signed());
        setsockopt(&socket, sockopt::ReceiveTimeout, &deadline).map_err(system("talk to"))?;
        Ok(Self { socket })
    }

    /// Asks for something, with files that come along, and waits for the answer.
    ///
    /// # Errors
    /// `chaosd` refused, or there is no proper answer.
    pub fn ask(&self, request: &Request, files: &[BorrowedFd<'_>]) -> Result<Reply, DaemonError> {
        let packet = protocol::encode(request).ok_or(DaemonError::TooLong)?;
        let fds: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let rights = if fds.is_empty() { &[][..] } else { &rights[..] };
        let parts = [IoSlice::new(&packet)];
        let fd = self.socket.as_raw_fd();
        match sendmsg::<()>(fd, &parts, rights, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => {}
            Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(DaemonError::Closed),
            Err(errno) => return Err(DaemonError::System { doing: "send a request to", errno }),
        }
        let mut packet = [0; REPLY];
        let mut parts = [IoSliceMut::new(&mut packet)];
        let length = match recvmsg::<()>(fd, &mut parts, None, MsgFlags::empty()) {
            Ok(message) if message.flags.contains(MsgFlags::MSG_TRUNC) => {
                return Err(DaemonError::Unexpected);
            }
            Ok(message) => message.bytes,
            Err(Errno::EAGAIN) => return Err(DaemonError::Silent),
            Err(Errno::ECONNRESET) => return Err(DaemonError::Closed),
            Err(errno) => return Err(DaemonError::System { doing: "hear from", errno }),
        };
        if length == 0 {
            return Err(DaemonError::Closed);
        }
        match protocol::decode(&packet[..length])? {
            Reply::Refused(refusal) => Err(refusal.into()),
            reply => Ok(reply),
        }
    }
}
