//! The client of `noxsd`.

use std::cell::RefCell;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::client::{ClientError, Connection, Daemon};
use noxs_control::{
    self, Attach, DomainId, DomainStatus, MAX_PACKET, Refusal, Reply, Request, VifDrops,
    VifIdentity,
};

/// `noxsd` as its clients know it. It does nothing that waits, so only a stopped or a broken one
/// reaches the deadline.
pub static NOXSD: Daemon = Daemon {
    name: "noxsd",
    start: "noxsd --bridge xenbr0",
    access: "run chaos as root",
    deadline: Duration::from_secs(5),
    limits_sending: true,
};

/// Longest answer in bytes that is no list of domains: a refusal with its reason.
const SHORT_REPLY: usize = 1024;

/// Why `noxsd` did not do what was asked.
pub type BackendError = ClientError<Refusal>;

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
        if was_kept && matches!(result, Err(BackendError::Closed(_))) {
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
    connection: Connection,
    /// Whether an answer is on its way that was not read.
    pending: bool,
}

impl Noxsd {
    /// Connects.
    ///
    /// # Errors
    /// `noxsd` does not run, or does not talk to this user.
    pub fn connect(path: &Path) -> Result<Self, BackendError> {
        Ok(Self { connection: Connection::connect(&NOXSD, path)?, pending: false })
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
        self.send(&Request::Attach(attach), console_log.as_slice())
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
        self.send(&Request::Configure { id, vifs: vifs.to_vec() }, &[])
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
        self.send(&Request::Detach(id), &[])?;
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
        self.send(&Request::AddSwitch { bridge }, &[tap])?;
        self.done()
    }

    /// The domains that have lost a device, and why.
    ///
    /// # Errors
    /// No proper answer.
    pub fn broken(&mut self) -> Result<Vec<DomainStatus>, BackendError> {
        self.send(&Request::Status(None), &[])?;
        match self.receive_into(&mut vec![0; MAX_PACKET])? {
            Reply::Status(status) => Ok(status),
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => Err(BackendError::Unexpected(&NOXSD)),
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
            self.send(&Request::Dropped { from }, &[])?;
            match self.receive_into(&mut vec![0; MAX_PACKET])? {
                Reply::Dropped { vifs, next } => {
                    all.extend(vifs);
                    match next {
                        Some(next) if next > from => from = next,
                        Some(_) => return Err(BackendError::Unexpected(&NOXSD)),
                        None => return Ok(all),
                    }
                }
                Reply::Refused(refusal) => return Err(refusal.into()),
                _ => return Err(BackendError::Unexpected(&NOXSD)),
            }
        }
    }

    /// Turns the connection into the domain's console.
    ///
    /// # Errors
    /// The domain has no console, or somebody else uses it.
    pub fn console(mut self, id: DomainId) -> Result<OwnedFd, BackendError> {
        self.send(&Request::Console(id), &[])?;
        self.done()?;
        Ok(self.connection.into_socket())
    }

    /// Turns the connection into a watch: a packet of one byte arrives whenever some domain may
    /// have ended.
    ///
    /// # Errors
    /// Another process holds `VIRQ_DOM_EXC`.
    pub fn watch(mut self) -> Result<OwnedFd, BackendError> {
        self.send(&Request::Watch, &[])?;
        self.done()?;
        Ok(self.connection.into_socket())
    }

    fn send(&mut self, request: &Request, files: &[BorrowedFd<'_>]) -> Result<(), BackendError> {
        if self.pending {
            // The caller before has given up. Answers come in order, so its answer goes first.
            self.receive()?;
        }
        self.connection.send(&noxs_control::encode(request), files)?;
        self.pending = true;
        Ok(())
    }

    /// Receives an answer that is not a list.
    fn receive(&mut self) -> Result<Reply, BackendError> {
        // To touch a page for the first time takes longer than all the rest of this.
        self.receive_into(&mut [0; SHORT_REPLY])
    }

    fn receive_into(&mut self, packet: &mut [u8]) -> Result<Reply, BackendError> {
        let length = self.connection.receive(packet)?;
        self.pending = false;
        noxs_control::decode(&packet[..length])
            .map_err(|source| BackendError::Answer { daemon: &NOXSD, source })
    }

    fn done(&mut self) -> Result<(), BackendError> {
        match self.receive()? {
            Reply::Done => Ok(()),
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => Err(BackendError::Unexpected(&NOXSD)),
        }
    }
}
