// SPDX-License-Identifier: GPL-3.0-or-later
//! The client of `chaosd`.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use daemon::client::{ClientError, Connection, Daemon};

use super::protocol::{self, Refusal, Reply, Request};
use crate::failure::FailureClass;

/// What a client must know of `chaosd`. The deadline allows for requests that came earlier, each of
/// which takes some milliseconds.
pub static CHAOSD: Daemon = Daemon {
    name: "chaosd",
    start: "chaosd",
    access: "join group chaos, or run as root",
    deadline: Duration::from_secs(30),
    limits_sending: false,
};

/// Longest reply in bytes. The buffer is on the stack.
const REPLY: usize = 4096;

/// Why `chaosd` did not carry out a request.
pub type DaemonError = ClientError<Refusal>;

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

/// A connection to `chaosd`.
#[derive(Debug)]
pub struct Chaosd {
    connection: Connection,
}

impl Chaosd {
    /// Connects.
    ///
    /// # Errors
    /// [`DaemonError::NotRunning`] if no process listens; [`DaemonError::Permission`] if this user
    /// may not connect.
    pub fn connect(path: &Path) -> Result<Self, DaemonError> {
        Ok(Self { connection: Connection::connect(&CHAOSD, path)? })
    }

    /// Sends a request with its files, and waits for the reply.
    ///
    /// # Errors
    /// `chaosd` refused, or did not return a valid reply in time.
    pub fn ask(&self, request: &Request, files: &[BorrowedFd<'_>]) -> Result<Reply, DaemonError> {
        let packet = protocol::encode(request)
            .ok_or(DaemonError::TooLong { daemon: &CHAOSD, limit: protocol::MAX_PACKET })?;
        self.connection.send(&packet, files)?;
        let mut packet = [0; REPLY];
        let length = self.connection.receive(&mut packet)?;
        match protocol::decode(&packet[..length]) {
            Ok(Reply::Refused(refusal)) => Err(refusal.into()),
            Ok(reply) => Ok(reply),
            Err(source) => Err(DaemonError::Answer { daemon: &CHAOSD, source }),
        }
    }
}
