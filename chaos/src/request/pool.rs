//! Requests about the pool of shells, which only `chaosd` has.

use std::path::Path;

use crate::clients::chaosd;
use crate::clients::chaosd::client::{CHAOSD, Chaosd, DaemonError};
use crate::clients::chaosd::protocol::{FlavourStatus, Reply, Request};

/// A connection to `chaosd` for requests about its pool.
#[derive(Debug)]
pub struct PoolControl {
    daemon: Chaosd,
}

impl PoolControl {
    /// Connects to `chaosd` at its usual socket.
    ///
    /// # Errors
    /// `chaosd` does not run, or this user may not use its socket.
    pub fn connect() -> Result<Self, DaemonError> {
        Self::connect_to(Path::new(chaosd::SOCKET))
    }

    /// Connects to the `chaosd` that listens at `socket`.
    ///
    /// # Errors
    /// As [`PoolControl::connect`].
    pub fn connect_to(socket: &Path) -> Result<Self, DaemonError> {
        Ok(Self { daemon: Chaosd::connect(socket)? })
    }

    /// Returns what the pool holds, one entry per flavour.
    ///
    /// # Errors
    /// `chaosd` does not answer, or refuses.
    pub fn status(&self) -> Result<Vec<FlavourStatus>, DaemonError> {
        match self.daemon.ask(&Request::Pool, &[])? {
            Reply::Pool(flavours) => Ok(flavours),
            _ => Err(DaemonError::Unexpected(&CHAOSD)),
        }
    }

    /// Changes how many shells of a flavour are kept, until `chaosd` reads its configuration
    /// again: fewer than `low` are refilled, up to `high`.
    ///
    /// # Errors
    /// There is no such flavour, or `low` is more than `high`.
    pub fn resize(&self, flavour: String, low: u32, high: u32) -> Result<(), DaemonError> {
        self.done(&Request::Resize { flavour, low, high })
    }

    /// Destroys all shells that wait, and creates no new ones until the next resize or until
    /// `chaosd` reads its configuration again.
    ///
    /// # Errors
    /// `chaosd` does not answer.
    pub fn drain(&self) -> Result<(), DaemonError> {
        self.done(&Request::Drain)
    }

    fn done(&self, request: &Request) -> Result<(), DaemonError> {
        match self.daemon.ask(request, &[])? {
            Reply::Done => Ok(()),
            _ => Err(DaemonError::Unexpected(&CHAOSD)),
        }
    }
}
