// SPDX-License-Identifier: GPL-3.0-or-later
//! Writes and removes a domain's nodes.

use std::time::Instant;

use xenstore::{Batch, ErrorName, Message};

use super::barrier::{self, Until};
use super::tree::{ShellNodes, XenStorePaths, write_guest, write_shell};
use crate::announce::nodes::GuestNodes;
use crate::clients::xenstored::{Answer, Connection, DEADLINE, StoreError, StoreRefusal};

impl XenStorePaths {
    /// Writes a domain's nodes in one transaction, and introduces it to xenstored. The nodes of a
    /// guest that is not known yet follow with [`identify`](Self::identify).
    ///
    /// # Errors
    /// xenstored does not answer, or refuses.
    pub(super) fn announce(
        self,
        connection: &mut Connection,
        shell: &ShellNodes,
        guest: Option<&GuestNodes<'_>>,
    ) -> Result<(), StoreError> {
        let mut first = Batch::new();
        first.read(&format!("{}/domid", self.home()));
        first.start_transaction();
        let mut answers = connection.ask(&first)?.into_iter();
        let (leftover, mut transaction) = (answers.next(), answers.next());
        if let Some(Ok(_)) = leftover {
            // Xen has reused the number of a domain whose nodes are still there. Remove them first,
            // and abort the transaction, because their removal would make it fail.
            if let Some(Ok(number)) = transaction.take() {
                let mut abort = Batch::inside(number_of(&number)?);
                abort.abort();
                connection.demand(&abort)?;
            }
            self.withdraw()?;
        }
        let store = shell.rings.store;
        let mut introduced = false;
        commit(connection, transaction, |batch| {
            write_shell(batch, self, shell);
            if let Some(guest) = guest {
                write_guest(batch, self, guest);
            }
            batch.commit();
            if !introduced {
                batch.introduce(self.domid.0, store.gfn.0, store.port.0);
                introduced = true;
            }
        })
    }

    /// Writes the nodes of the guest that an announced shell becomes.
    ///
    /// # Errors
    /// xenstored does not answer, or refuses.
    pub(super) fn identify(
        self,
        connection: &mut Connection,
        guest: &GuestNodes<'_>,
    ) -> Result<(), StoreError> {
        commit(connection, None, |batch| {
            write_guest(batch, self, guest);
            batch.commit();
        })
    }

    /// Removes all nodes of the domain, and waits until dom0's kernel has unmapped its pages. The
    /// domain must not run: its drivers would write to their nodes, and so create them again.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub(super) fn withdraw(self) -> Result<(), StoreError> {
        remove(&self.all())
    }

    /// Removes only the device nodes of a domain that does not run.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub(super) fn withdraw_devices(self) -> Result<(), StoreError> {
        remove(&self.devices())
    }

    /// Writes another name of the domain.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub(super) fn rename(self, name: &str) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for node in [self.home(), self.vm()] {
            batch.write(&format!("{node}/name"), name);
        }
        Connection::open()?.demand(&batch).map(drop)
    }
}

/// Removes nodes, and waits until the drivers of dom0's kernel have removed their devices.
fn remove(nodes: &[String]) -> Result<(), StoreError> {
    // A driver that is still probing a device writes to its nodes, and would create them again.
    barrier::wait(Until::Ready)?;
    Connection::open()?.remove(nodes)?;
    barrier::wait(Until::Probed)
}

/// Carries out a transaction, and repeats it until no other client has changed the same nodes
/// meanwhile. `started` is the answer to a request that has started it already.
fn commit(
    connection: &mut Connection,
    started: Option<Answer>,
    mut write: impl FnMut(&mut Batch),
) -> Result<(), StoreError> {
    let deadline = Instant::now() + DEADLINE;
    let mut started = started.and_then(Result::ok);
    loop {
        let number = match started.take() {
            Some(message) => message,
            None => {
                let mut start = Batch::new();
                start.start_transaction();
                connection.demand(&start)?.pop().ok_or(StoreError::Unexpected)?
            }
        };
        let mut batch = Batch::inside(number_of(&number)?);
        write(&mut batch);
        let answers = connection.ask(&batch)?;
        let failed = (0..).zip(answers).find_map(|(at, answer)| Some((at, answer.err()?)));
        match failed {
            None => return Ok(()),
            Some((_, StoreRefusal::Known(ErrorName::Again))) if Instant::now() < deadline => {}
            Some((at, reason)) => {
                return Err(StoreError::Refused { doing: batch.describe(at), reason });
            }
        }
    }
}

fn number_of(message: &Message) -> Result<u32, StoreError> {
    message.text().parse().map_err(|_| StoreError::Unexpected)
}
