//! Writing a domain's nodes, and removing them again.

use std::io;
use std::time::Instant;

use xenstore::{Batch, Message};
use xenstore_rs::Xs;

use super::barrier::{self, Until};
use super::tree::{ShellNodes, XenStorePaths, write_guest, write_shell};
use crate::announce::GuestNodes;
use crate::clients::xenstored::{Answer, Connection, DEADLINE, StoreError, plain};

impl XenStorePaths {
    /// Announces a domain with its devices in one transaction, and makes it known to xenstored. What
    /// is not known of it yet comes with [`identify`](Self::identify).
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
        let (left_over, mut transaction) = (answers.next(), answers.next());
        if let Some(Ok(_)) = left_over {
            // Xen has given the number away again, and whoever had it left its nodes. The
            // transaction would fail over their removal.
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

    /// Announces what was not known before.
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
    /// domain must not run: what its drivers say meanwhile would bring nodes back.
    ///
    /// # Errors
    /// xenstored does not answer.
    pub(super) fn withdraw(self) -> Result<(), StoreError> {
        remove(&self.all())
    }

    /// Removes only the devices of a domain that does not run.
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
        let store = plain()?;
        for node in [self.home(), self.vm()] {
            store.write(&format!("{node}/name"), name).map_err(StoreError::Lost)?;
        }
        Ok(())
    }
}

fn remove(nodes: &[String]) -> Result<(), StoreError> {
    // A driver that is at work on a device writes to its nodes, and would make them again.
    barrier::wait(Until::Ready)?;
    let store = plain()?;
    for node in nodes {
        match store.rm(node) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(StoreError::Lost)?,
        }
    }
    barrier::wait(Until::Probed)
}

/// A node's value, if it is there.
pub(crate) fn read(connection: &mut Connection, path: &str) -> Result<Option<String>, StoreError> {
    let mut batch = Batch::new();
    batch.read(path);
    let answer = connection.ask(&batch)?.pop();
    Ok(answer.and_then(Result::ok).map(|message| message.text().to_owned()))
}

/// Carries a transaction out. It is repeated if another client has changed what it changes.
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
            Some((_, reason)) if reason == "EAGAIN" && Instant::now() < deadline => {}
            Some((at, reason)) => {
                return Err(StoreError::Refused { doing: batch.describe(at), reason });
            }
        }
    }
}

fn number_of(message: &Message) -> Result<u32, StoreError> {
    message.text().parse().map_err(|_| StoreError::Unexpected)
}
