// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads and watches XenStore while a guest runs: for its console, for requests to shut down, and
//! for domains that exit.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use xen::units::DomId;
use xenstore::Batch;

use super::tree::XenStorePaths;
use crate::clients::xenstored::{Connection, DEADLINE, StoreError};

/// Waits until xenconsoled provides a terminal for a domain's console, and returns its path.
///
/// xenconsoled learns of a domain from xenstored, and writes the path when the terminal is ready.
///
/// # Errors
/// xenconsoled does not write it in time.
pub fn terminal(domid: DomId) -> Result<String, StoreError> {
    let node = format!("/local/domain/{domid}/console/tty");
    let mut connection = Connection::open()?;
    let mut batch = Batch::new();
    batch.watch(&node, "chaos");
    connection.demand(&batch)?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(path) = connection.read(&node)?.filter(|path| !path.is_empty()) {
            return Ok(path);
        }
        if !connection.wait_for_event(deadline)? {
            return Err(StoreError::Silent { program: "xenconsoled", after: DEADLINE });
        }
    }
}

/// A request to shut down in a guest's `control` folder (Xen's `docs/misc/xenstore-paths.pandoc`).
#[derive(Debug)]
pub struct Control {
    connection: Connection,
    node: String,
}

impl Control {
    /// Returns whether the guest supports a request.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub fn has_feature(paths: XenStorePaths, request: &str) -> Result<bool, StoreError> {
        let node = format!("{}/control/feature-{request}", paths.home());
        Ok(Connection::open()?.read(&node)?.is_some_and(|value| value == "1"))
    }

    /// Writes the request, and starts to watch for the guest's acknowledgement.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub fn ask(paths: XenStorePaths, request: &str) -> Result<Self, StoreError> {
        let node = format!("{}/control/shutdown", paths.home());
        let mut connection = Connection::open()?;
        let mut batch = Batch::new();
        batch.write(&node, request);
        batch.watch(&node, "chaos");
        connection.demand(&batch)?;
        Ok(Self { connection, node })
    }

    /// Returns whether the guest has acknowledged the request by clearing the node, or is gone.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub fn is_acknowledged(&mut self) -> Result<bool, StoreError> {
        self.connection.forget_events();
        let value = self.connection.read(&self.node)?;
        Ok(value.is_none_or(|value| value.is_empty()))
    }

    /// Waits until the node may have changed. Returns `false` if the deadline came first, or has
    /// passed, even if the guest changes the node in a loop.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn wait(&mut self, deadline: Instant) -> Result<bool, StoreError> {
        self.connection.wait_for_event(deadline)
    }
}

/// A watch for domains that exit. Where xenstored runs, it has bound `VIRQ_DOM_EXC`, and sends an
/// event to each client that watches `@releaseDomain`, for the domains that were introduced to it.
#[derive(Debug)]
pub struct EndWatch(Connection);

impl EndWatch {
    /// Starts to watch.
    ///
    /// # Errors
    /// xenstored does not run, or does not answer.
    pub fn start() -> Result<Self, StoreError> {
        let mut connection = Connection::open()?;
        let mut batch = Batch::new();
        batch.watch("@releaseDomain", "chaos");
        connection.demand(&batch)?;
        Ok(Self(connection))
    }

    /// Returns the watch over a socket to a xenstored of a test.
    #[cfg(test)]
    pub(crate) fn over(socket: std::os::unix::net::UnixStream) -> Self {
        Self(Connection::over(socket))
    }

    /// Returns whether an event was read ahead, which no longer makes the descriptor readable.
    #[must_use]
    pub fn has_buffered(&self) -> bool {
        self.0.has_buffered()
    }

    /// Takes an event, and waits if there is none.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn take(&mut self) -> Result<(), StoreError> {
        self.0.take_event()
    }
}

impl AsFd for EndWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
