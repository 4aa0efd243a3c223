// SPDX-License-Identifier: GPL-3.0-or-later
//! The client of `noxsd`.

use std::cell::RefCell;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use daemon::client::{ClientError, Connection, Daemon};
use nix::errno::Errno;
use noxs_control::{
    self, Attach, ConsoleRole, ConsoleUse, Counters, DeviceNumber, DiskImage, DomainId,
    DomainStatus, MAX_PACKET, Refusal, Reply, Request, VifDrops, VifIdentity,
};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use xen::units::DomId;

use super::visible::Visible;

/// What a client must know of `noxsd`. No request makes it wait, so the deadline passes only if it
/// is stopped or broken.
pub static NOXSD: Daemon = Daemon {
    name: "noxsd",
    start: "noxsd --bridge xenbr0",
    access: "run chaos as root",
    deadline: Duration::from_secs(5),
    limits_sending: true,
};

/// Longest reply in bytes other than a list: a refusal with its reason.
const SHORT_REPLY: usize = 1024;

/// Limit of the vifs that can have dropped frames: each domain has all that it can have.
const MAX_DROPS: usize = DomId::FIRST_RESERVED.0 as usize * noxs::MAX_VIFS;

/// Limit of the vifs and disks that there can be.
const MAX_COUNTED: usize = DomId::FIRST_RESERVED.0 as usize * noxs::MAX_DEVICES;

/// Why `noxsd` did not carry out a request.
pub type BackendError = ClientError<Refusal>;

/// The socket of `noxsd`, and a connection that is kept open between requests.
#[derive(Debug)]
pub struct Link {
    path: PathBuf,
    kept: RefCell<Option<Noxsd>>,
}

impl Link {
    /// Returns a link to the `noxsd` that listens at `path`, without connecting.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, kept: RefCell::new(None) }
    }

    /// Opens a connection that is not the kept one.
    ///
    /// # Errors
    /// `noxsd` does not run, or this user may not connect.
    pub fn connect(&self) -> Result<Noxsd, BackendError> {
        Noxsd::connect(&self.path)
    }

    /// Calls `action` with the kept connection, or a new one if none is kept. If `noxsd` has closed
    /// the kept connection since it was last used, `action` is repeated with a new one.
    ///
    /// # Errors
    /// As [`Link::connect`], and the errors of `action`.
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

    /// Returns whether the `noxsd` that has answered last still runs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.kept.borrow().as_ref().is_some_and(|noxsd| noxsd.connection.is_open())
    }
}

/// What `noxsd` must know of a guest whose domain it has attached before.
#[derive(Clone, Copy, Debug)]
pub struct Configure<'a> {
    /// The domain.
    pub id: DomainId,
    /// The identities of its vifs.
    pub vifs: &'a [VifIdentity],
    /// What is behind its disks.
    pub disks: &'a [DiskImage],
    /// The files behind them.
    pub files: &'a [BorrowedFd<'a>],
}

/// A connection to `noxsd`.
#[derive(Debug)]
pub struct Noxsd {
    connection: Connection,
    /// Whether a request was sent whose reply has not been read.
    pending: bool,
    /// Whether this process has lifted its limit on the size of files. It is never lowered again.
    limit_is_lifted: bool,
    /// For the parts of long lists; empty until there is one.
    packet: Vec<u8>,
}

impl Noxsd {
    /// Connects.
    ///
    /// # Errors
    /// `noxsd` does not run, or this user may not connect.
    pub fn connect(path: &Path) -> Result<Self, BackendError> {
        let connection = Connection::connect(&NOXSD, path)?;
        Ok(Self { connection, pending: false, limit_is_lifted: false, packet: Vec::new() })
    }

    /// Asks `noxsd` to attach a domain's devices, without waiting for the reply. The files are that of
    /// the console's log, if there is a console, and those behind the disks.
    ///
    /// # Errors
    /// The request cannot be sent.
    pub fn begin_attach(
        &mut self,
        attach: Attach,
        files: &[BorrowedFd<'_>],
    ) -> Result<(), BackendError> {
        self.send(&Request::Attach(attach), files)
    }

    /// Sends the identities of the vifs of an attached domain, and the files behind its disks,
    /// without waiting for the reply.
    ///
    /// # Errors
    /// The request cannot be sent.
    pub fn begin_configure(&mut self, guest: Configure<'_>) -> Result<(), BackendError> {
        let Configure { id, vifs, disks, files } = guest;
        let request = Request::Configure { id, vifs: vifs.to_vec(), disks: disks.to_vec() };
        self.send(&request, files)
    }

    /// Lets `noxsd` write files of any size, which it does not need for consoles' logs and cannot do
    /// by itself: a guest has a file behind a disk that it may write.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn lift_file_limit(&mut self) -> Result<(), BackendError> {
        if self.limit_is_lifted {
            return Ok(());
        }
        let pid = self.connection.process::<Refusal>()?;
        let Some(pid) = Pid::from_raw(pid) else {
            return Err(BackendError::Unexpected(&NOXSD));
        };
        let none = Rlimit { current: None, maximum: None };
        let lifted = prlimit(Some(pid), Resource::Fsize, none);
        lifted.map_err(|errno| BackendError::System {
            daemon: &NOXSD,
            doing: "lift the limit on the size of files (prlimit) of",
            errno: Errno::from_raw(errno.raw_os_error()),
        })?;
        self.limit_is_lifted = true;
        Ok(())
    }

    /// Waits for the reply to [`begin_configure`](Self::begin_configure). If no reply is pending on
    /// this connection, the request is sent again: `noxsd` was restarted and this connection is
    /// newer.
    ///
    /// # Errors
    /// `noxsd` refused, and none of the devices is configured.
    pub fn finish_configure(&mut self, guest: Configure<'_>) -> Result<(), BackendError> {
        if !self.pending {
            self.begin_configure(guest)?;
        }
        self.done()
    }

    /// Waits for the reply to [`begin_attach`](Self::begin_attach). If no reply is pending on this
    /// connection, `noxsd` was restarted and has attached the devices from their file.
    ///
    /// # Errors
    /// `noxsd` refused, and none of the devices is attached.
    pub fn finish(&mut self) -> Result<(), BackendError> {
        if self.pending { self.done() } else { Ok(()) }
    }

    /// Detaches all devices of a domain.
    ///
    /// # Errors
    /// `noxsd` refused, or does not answer. It is not an error if it does not know the domain.
    pub fn detach(&mut self, id: DomainId) -> Result<(), BackendError> {
        self.send(&Request::Detach(id), &[])?;
        match self.done() {
            Err(BackendError::Refused(Refusal::NoDevice)) => Ok(()),
            result => result,
        }
    }

    /// Adds vifs and disks to a domain, whose files come in the order of the disks.
    ///
    /// # Errors
    /// `noxsd` refused, and the domain has none of the devices.
    pub fn attach_devices(
        &mut self,
        devices: Attach,
        files: &[BorrowedFd<'_>],
    ) -> Result<(), BackendError> {
        self.send(&Request::AttachDevices(devices), files)?;
        self.done()
    }

    /// Detaches one device of a domain.
    ///
    /// # Errors
    /// `noxsd` refused, or does not answer. It is not an error if it does not know the device.
    pub fn detach_device(
        &mut self,
        id: DomainId,
        device: DeviceNumber,
    ) -> Result<(), BackendError> {
        self.send(&Request::DetachDevice { id, device }, &[])?;
        match self.done() {
            Err(BackendError::Refused(Refusal::NoDevice)) => Ok(()),
            result => result,
        }
    }

    /// Passes the tap of a bridge that `noxsd` does not serve yet.
    ///
    /// # Errors
    /// `noxsd` refused.
    pub fn add_switch(&mut self, bridge: String, tap: BorrowedFd<'_>) -> Result<(), BackendError> {
        self.send(&Request::AddSwitch { bridge }, &[tap])?;
        self.done()
    }

    /// Returns the domains with a broken device, and the reasons.
    ///
    /// # Errors
    /// `noxsd` refused, or did not return a valid reply in time.
    pub fn broken(&mut self) -> Result<Vec<DomainStatus>, BackendError> {
        self.send(&Request::Status, &[])?;
        match self.receive_long()? {
            Reply::Status(status) => Ok(status),
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => Err(BackendError::Unexpected(&NOXSD)),
        }
    }

    /// Returns the vifs that have dropped frames, with one request for each thousand guests.
    ///
    /// # Errors
    /// As [`broken`](Self::broken). All replies together have one deadline, and more vifs than
    /// there can be are not accepted.
    pub fn dropped(&mut self) -> Result<Vec<VifDrops>, BackendError> {
        let mut all = Vec::new();
        let add = |reply| match reply {
            Reply::Dropped { mut vifs, next } => {
                all.append(&mut vifs);
                Ok((all.len(), next))
            }
            reply => Err(reply),
        };
        self.list(|from| Request::Dropped { from }, add, MAX_DROPS)?;
        Ok(all)
    }

    /// Returns how much has passed the vifs and disks of all domains, with one request for each 1000
    /// vifs.
    ///
    /// # Errors
    /// As [`dropped`](Self::dropped).
    pub fn counters(&mut self) -> Result<Counters, BackendError> {
        let mut all = Counters::default();
        let add = |reply| match reply {
            Reply::Counters { mut counters, next } => {
                all.vifs.append(&mut counters.vifs);
                all.vbds.append(&mut counters.vbds);
                Ok((all.vifs.len() + all.vbds.len(), next))
            }
            reply => Err(reply),
        };
        self.list(|from| Request::Counters { from }, add, MAX_COUNTED)?;
        Ok(all)
    }

    /// Asks for all parts of a list, which has at most `most` entries. `add` adds a part, and returns the
    /// number of entries so far and where the next part begins. All replies together have one deadline.
    ///
    /// # Errors
    /// `noxsd` refused, or did not return valid replies in time.
    fn list(
        &mut self,
        request: impl Fn(u16) -> Request,
        mut add: impl FnMut(Reply) -> Result<(usize, Option<u16>), Reply>,
        most: usize,
    ) -> Result<(), BackendError> {
        let mut from = 0;
        let deadline = Instant::now() + NOXSD.deadline;
        loop {
            self.send(&request(from), &[])?;
            let (entries, next) = match add(self.receive_long()?) {
                Ok(part) => part,
                Err(Reply::Refused(refusal)) => return Err(refusal.into()),
                Err(_) => return Err(BackendError::Unexpected(&NOXSD)),
            };
            match next {
                _ if entries > most => return Err(BackendError::Unexpected(&NOXSD)),
                Some(_) if Instant::now() >= deadline => return Err(BackendError::Silent(&NOXSD)),
                Some(next) if next > from && entries > 0 => from = next,
                Some(_) => return Err(BackendError::Unexpected(&NOXSD)),
                None => return Ok(()),
            }
        }
    }

    /// Turns the connection into one to the domain's console. Returns whether its input goes to the
    /// guest.
    ///
    /// # Errors
    /// The domain has no console, or too many clients use it.
    pub fn console(
        mut self,
        id: DomainId,
        usage: ConsoleUse,
    ) -> Result<(OwnedFd, ConsoleRole), BackendError> {
        self.send(&Request::Console { id, usage }, &[])?;
        match self.receive()? {
            Reply::Console(role) => Ok((self.connection.into_socket(), role)),
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => Err(BackendError::Unexpected(&NOXSD)),
        }
    }

    /// Turns the connection into a watch: `noxsd` sends a packet of one byte whenever some domain
    /// may have exited.
    ///
    /// # Errors
    /// `noxsd` has not bound `VIRQ_DOM_EXC`, because another process has.
    pub fn watch(mut self) -> Result<OwnedFd, BackendError> {
        self.send(&Request::Watch, &[])?;
        self.done()?;
        Ok(self.connection.into_socket())
    }

    /// Turns the connection into a watch for devices: `noxsd` sends a packet of one byte whenever a guest
    /// has lost one, and [`broken`](Self::broken), over another connection, says which.
    ///
    /// # Errors
    /// `noxsd` refused, or did not return a valid reply in time.
    pub fn watch_devices(mut self) -> Result<OwnedFd, BackendError> {
        self.send(&Request::WatchDevices, &[])?;
        self.done()?;
        Ok(self.connection.into_socket())
    }

    fn send(&mut self, request: &Request, files: &[BorrowedFd<'_>]) -> Result<(), BackendError> {
        if self.pending {
            // The previous caller has not waited for its reply. Replies come in order, so drop that
            // one.
            self.receive()?;
        }
        let packet = noxs_control::encode(request)
            .ok_or(BackendError::TooLong { daemon: &NOXSD, limit: MAX_PACKET })?;
        self.connection.send(&packet, files)?;
        self.pending = true;
        Ok(())
    }

    /// Receives a reply that is not a list.
    fn receive(&mut self) -> Result<Reply, BackendError> {
        // A short buffer, because touching a new page costs more than the rest of this function.
        self.receive_into(&mut [0; SHORT_REPLY])
    }

    /// Receives a reply that may be a list.
    fn receive_long(&mut self) -> Result<Reply, BackendError> {
        let mut packet = std::mem::take(&mut self.packet);
        packet.resize(MAX_PACKET, 0);
        let reply = self.receive_into(&mut packet);
        self.packet = packet;
        reply
    }

    fn receive_into(&mut self, packet: &mut [u8]) -> Result<Reply, BackendError> {
        let length = self.connection.receive(packet)?;
        self.pending = false;
        let mut reply = noxs_control::decode(&packet[..length])
            .map_err(|source| BackendError::Answer { daemon: &NOXSD, source })?;
        match &mut reply {
            Reply::Refused(refusal) => refusal.make_visible(),
            Reply::Status(domains) => domains.iter_mut().for_each(Visible::make_visible),
            Reply::Done | Reply::Console(_) | Reply::Dropped { .. } | Reply::Counters { .. } => {}
        }
        Ok(reply)
    }

    /// Receives a reply that carries nothing.
    fn done(&mut self) -> Result<(), BackendError> {
        match self.receive()? {
            Reply::Done => Ok(()),
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => Err(BackendError::Unexpected(&NOXSD)),
        }
    }
}
