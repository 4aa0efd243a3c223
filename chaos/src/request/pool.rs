// SPDX-License-Identifier: GPL-3.0-or-later
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
    /// `chaosd` is not running, or the user may not use its socket.
    pub fn connect() -> Result<Self, DaemonError> {
        Self::connect_to(&chaosd::socket())
    }

    /// Connects to the `chaosd` that listens at `socket`.
    ///
    /// # Errors
    /// As [`PoolControl::connect`].
    pub fn connect_to(socket: &Path) -> Result<Self, DaemonError> {
        Ok(Self { daemon: Chaosd::connect(socket)? })
    }

    /// Returns the state of the pool, one entry per flavour.
    ///
    /// # Errors
    /// `chaosd` does not answer or refuses the request.
    pub fn status(&self) -> Result<Vec<FlavourStatus>, DaemonError> {
        let mut all = Vec::new();
        loop {
            let from = u32::try_from(all.len()).unwrap_or(u32::MAX);
            match self.daemon.ask(&Request::Pool { from }, &[])? {
                // A reply without flavours that promises more would be asked for without end.
                Reply::Pool { flavours, more } if !more || !flavours.is_empty() => {
                    all.extend(flavours);
                    if !more {
                        return Ok(all);
                    }
                }
                _ => return Err(DaemonError::Unexpected(&CHAOSD)),
            }
        }
    }

    /// Changes how many shells of a flavour are kept, until `chaosd` rereads its configuration:
    /// when fewer than `low` are ready, they are refilled up to `high`.
    ///
    /// # Errors
    /// The flavour does not exist, `low` is more than `high`, or `chaosd` does not answer.
    pub fn resize(&self, flavour: String, low: u32, high: u32) -> Result<(), DaemonError> {
        self.request(&Request::Resize { flavour, low, high })
    }

    /// Destroys all shells, and prepares none until the next resize or until `chaosd` rereads its
    /// configuration.
    ///
    /// # Errors
    /// `chaosd` does not answer.
    pub fn drain(&self) -> Result<(), DaemonError> {
        self.request(&Request::Drain)
    }

    fn request(&self, request: &Request) -> Result<(), DaemonError> {
        match self.daemon.ask(request, &[])? {
            Reply::Done => Ok(()),
            _ => Err(DaemonError::Unexpected(&CHAOSD)),
        }
    }
}
