//! Talking to `noxsd`.

use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, recvmsg, send,
    sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use noxs_control::encoding::DecodeError;
use noxs_control::{
    self, Attach, DomainId, DomainStatus, MAX_PACKET, Refusal, Reply, Request, VifDrops,
    VifIdentity,
};
use thiserror::Error;

/// How long `noxsd` may take to answer. It does nothing that waits, so only a stopped or a broken
/// one takes this long.
const DEADLINE: Duration = Duration::from_secs(5);

/// Longest answer in bytes that is no list of domains: a refusal with its reason.
const SHORT_REPLY: usize = 1024;

/// Why `noxsd` did not do what was asked.
#[derive(Debug, Error)]
pub enum BackendError {
    /// Nobody listens.
    #[error(
        "noxsd is not running (nobody listens on {path}); start it with: noxsd --bridge xenbr0"
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket may not be used by this user.
    #[error("no permission to use noxsd's socket {path}; run chaos as root")]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// No answer in time.
    #[error("noxsd has not answered within {} s; see its log", DEADLINE.as_secs())]
    Silent,
    /// It closed the connection.
    #[error("noxsd closed the connection; see its log")]
    Closed,
    /// It refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The answer is no answer.
    #[error("noxsd's answer cannot be read")]
    Answer(#[from] DecodeError),
    /// The answer belongs to another request.
    #[error("noxsd answered something that was not asked")]
    Unexpected,
    /// A system call failed.
    #[error("cannot {doing} noxsd")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The system's answer.
        #[source]
        errno: Errno,
    },
}

/// The way to `noxsd`: where it listens, and a connection that is kept.
#[derive(Debug)]
pub struct Link {
    path: PathBuf,
    kept: RefCell<Option<Noxsd>>,
}

impl Link {
    /// A way to the `noxsd` that listens at `path`. Nothing is connected yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, kept: RefCell::new(None) }
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// `noxsd` does not run, or does not talk to this user.
    pub fn connect(&self) -> Result<Noxsd, BackendError> {
        Noxsd::connect(&self.path)
    }

    /// Does something over the kept connection, which is made if there is none. If `noxsd` has
    /// closed it since it was last used, it is done again over a new one.
    ///
    /// # Errors
    /// As [`Link::connect`], and what `action` says.
    pub fn call<T>(
        &self,
        mut action: impl FnMut(&mut Noxsd) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let kept = self.kept.take();
        let was_kept = kept.is_some();
        let mut noxsd = kept.map_or_else(|| self.connect(), Ok)?;
        let mut result = action(&mut noxsd);
        if was_kept && matches!(result, Err(BackendError::Closed)) {
            noxsd = self.connect()?;
            result = action(&mut noxsd);
        }
        if matches!(result, Ok(_) | Err(BackendError::Refused(_))) {
            self.kept.replace(Some(noxsd));
        }
        result
    }
}

/// A connection to `noxsd`.
#[derive(Debug)]
pub struct Noxsd {
    socket: OwnedFd,
    /// Whether an answer is on its way that nobody has read.
    pending: bool,
}

impl Noxsd {
    /// Connects.
    ///
    /// # Errors
    /// `noxsd` does not run, or does not talk to this user.
    pub fn connect(path: &Path) -> Result<Self, BackendError> {
        let system = |doing| move |errno| BackendError::System { doing, errno };
        let address = UnixAddr::new(path).map_err(system("find"))?;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
            .map_err(system("open a socket to"))?;
        let deadline = TimeVal::seconds(DEADLINE.as_secs().cast_signed());
        setsockopt(&socket, sockopt::ReceiveTimeout, &deadline).map_err(system("talk to"))?;
        setsockopt(&socket, sockopt::SendTimeout, &deadline).map_err(system("talk to"))?;
        connect(socket.as_raw_fd(), &address).map_err(|errno| match errno {
            Errno::ENOENT | Errno::ECONNREFUSED => {
                BackendError::NotRunning { path: path.to_owned() }
            }
            Errno::EACCES | Errno::EPERM => BackendError::Permission { path: path.to_owned() },
            Errno::EAGAIN => BackendError::Silent,
            errno => BackendError::System { doing: "connect to", errno },
        })?;
        Ok(Self { socket, pending: false })
    }

    /// Asks for a domain's devices to be attached, without waiting for the answer. `console_log`
    /// is the file its console output goes to.
    ///
    /// # Errors
    /// The request cannot be sent.
    pub fn begin_attach(
        &mut self,
        attach: Attach,
        console_log: Option<BorrowedFd<'_>>,
    ) -> Result<(), BackendError> {
        self.send(&Request::Attach(attach), console_log)
    }

    /// Says who the vifs of an attached domain are, without waiting for the answer.
    ///
    /// # Errors
    /// The request cannot be sent.
    pub fn begin_configure(
        &mut self,
        id: DomainId,
        vifs: &[VifIdentity],
    ) -> Result<(), BackendError> {
        self.send(&Request::Configure { id, vifs: vifs.to_vec() }, None)
    }

    /// Waits for the answer to [`begin_configure`](Self::begin_configure). Over a connection that
    /// was made since then it is asked again: another `noxsd` has taken the place of the one that
    /// was asked.
    ///
    /// # Errors
    /// `noxsd` refused; then nothing was done.
    pub fn finish_configure(
        &mut self,
        id: DomainId,
        vifs: &[VifIdentity],
    ) -> Result<(), BackendError> {
        if !self.pending {
            self.begin_configure(id, vifs)?;
        }
        self.done()
    }

    /// Waits for the answer to what was begun. Without that it is done already.
    ///
    /// # Errors
    /// `noxsd` refused; then nothing was done.
    pub fn finish(&mut self) -> Result<(), BackendError> {
        if self.pending { self.done() } else { Ok(()) }
    }

    /// Takes all devices of a domain away.
    ///
    /// # Errors
    /// `noxsd` refused, or does not answer. A domain it does not know is no error.
    pub fn detach(&mut self, id: DomainId) -> Result<(), BackendError> {
        self.send(&Request::Detach(id), None)?;
        match self.done() {
            Err(BackendError::Refused(Refusal::NoDevice)) => Ok(()),
            result => result,
        }
    }

    /// Hands over the tap of a bridge that `noxsd` does not serve yet.
    ///
    /// # Errors
    /// `noxsd` refused.
    pub fn add_switch(&mut self, bridge: String, tap: BorrowedFd<'_>) -> Result<(), BackendError> {
        self.send(&Request::AddSwitch { bridge }, Some(tap))?;
        self.done()
    }

    /// The domains that have lost a device, and why.
    ///
    /// # Errors
    /// No proper answer.
    pub fn broken(&mut self) -> Result<Vec<DomainStatus>, BackendError> {
        self.send(&Request::Status(None), None)?;
        match self.receive_into(&mut vec![0; MAX_PACKET])? {
            Reply::Status(status) => Ok(status),
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => Err(BackendError::Unexpected),
        }
    }

    /// The vifs that have dropped frames: of a thousand guests in each packet.
    ///
    /// # Errors
    /// No proper answer.
    pub fn dropped(&mut self) -> Result<Vec<VifDrops>, BackendError> {
        let mut all = Vec::new();
        let mut from = 0;
        loop {
            self.send(&Request::Dropped { from }, None)?;
            match self.receive_into(&mut vec![0; MAX_PACKET])? {
                Reply::Dropped { vifs, next } => {
                    all.extend(vifs);
                    match next {
                        Some(next) if next > from => from = next,
                        Some(_) => return Err(BackendError::Unexpected),
                        None => return Ok(all),
                    }
                }
                Reply::Refused(refusal) => return Err(refusal.into()),
                _ => return Err(BackendError::Unexpected),
            }
        }
    }

    /// Turns the connection into the domain's console.
    ///
    /// # Errors
    /// The domain has no console, or somebody else uses it.
    pub fn console(mut self, id: DomainId) -> Result<OwnedFd, BackendError> {
        self.send(&Request::Console(id), None)?;
        self.done()?;
        Ok(self.socket)
    }

    /// Turns the connection into a watch: a packet of one byte arrives whenever some domain may
    /// have ended.
    ///
    /// # Errors
    /// Another process holds `VIRQ_DOM_EXC`.
    pub fn watch(mut self) -> Result<OwnedFd, BackendError> {
        self.send(&Request::Watch, None)?;
        self.done()?;
        Ok(self.socket)
    }

    fn send(&mut self, request: &Request, fd: Option<BorrowedFd<'_>>) -> Result<(), BackendError> {
        if self.pending {
            // Whoever asked has given up. Answers come in order, so this one must go first.
            self.receive()?;
        }
        let packet = noxs_control::encode(request);
        let sent = match fd {
            Some(fd) => {
                let fds = [fd.as_raw_fd()];
                let rights = [ControlMessage::ScmRights(&fds)];
                let parts = [IoSlice::new(&packet)];
                sendmsg::<()>(
                    self.socket.as_raw_fd(),
                    &parts,
                    &rights,
                    MsgFlags::MSG_NOSIGNAL,
                    None,
                )
            }
            None => send(self.socket.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL),
        };
        match sent {
            Ok(_) => {
                self.pending = true;
                Ok(())
            }
            Err(Errno::EAGAIN) => Err(BackendError::Silent),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Err(BackendError::Closed),
            Err(errno) => Err(BackendError::System { doing: "send a request to", errno }),
        }
    }

    /// Takes an answer that is no list.
    fn receive(&mut self) -> Result<Reply, BackendError> {
        // To touch a page for the first time takes longer than all the rest of this.
        self.receive_into(&mut [0; SHORT_REPLY])
    }

    fn receive_into(&mut self, packet: &mut [u8]) -> Result<Reply, BackendError> {
        let mut parts = [IoSliceMut::new(packet)];
        let fd = self.socket.as_fd().as_raw_fd();
        let (length, flags) = match recvmsg::<()>(fd, &mut parts, None, MsgFlags::empty()) {
            Ok(message) => (message.bytes, message.flags),
            Err(Errno::EAGAIN) => return Err(BackendError::Silent),
            Err(Errno::ECONNRESET) => return Err(BackendError::Closed),
            Err(errno) => return Err(BackendError::System { doing: "hear from", errno }),
        };
        if length == 0 {
            return Err(BackendError::Closed);
        }
        if flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(BackendError::Unexpected);
        }
        self.pending = false;
        Ok(noxs_control::decode(&packet[..length])?)
    }

    fn done(&mut self) -> Result<(), BackendError> {
        match self.receive()? {
            Reply::Done => Ok(()),
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => Err(BackendError::Unexpected),
        }
    }
}
