// SPDX-License-Identifier: GPL-3.0-or-later
//! Pending restarts among the records: written before a guest is removed, deleted when its
//! successor runs.

use chaos::guests::{self, Condition, Host, LifecycleError};
use chaos::records::{Record, Records};
use daemon::chain::chain;

use super::Successors;
use super::error::RestartError;

/// What to do about a pending restart.
pub(super) enum Pending {
    /// The guest with this record is to be created again.
    Guest(Box<Record>),
    /// The guest was destroyed.
    Cancelled,
    /// Another guest has its name.
    NameTaken,
}

/// Reads the pending restart of guest `name`.
///
/// # Errors
/// It cannot be read, or is another guest's.
pub(super) fn read(host: &Host, name: &str) -> Result<Pending, RestartError> {
    match host.records.pending_restart(name)? {
        None => Ok(Pending::Cancelled),
        Some(record) if record.name() != name => {
            Err(RestartError::OtherName { found: record.name().to_owned() })
        }
        Some(record) if name_is_taken(host, &record)? => Ok(Pending::NameTaken),
        Some(record) => Ok(Pending::Guest(Box::new(record))),
    }
}

/// Writes a pending restart of a guest that can be created again.
///
/// # Errors
/// The guest's files are missing, or the pending restart cannot be written.
pub(super) fn write(
    host: &Host,
    record: &Record,
    successors: &mut impl Successors,
) -> Result<(), RestartError> {
    successors.check(record)?;
    Ok(host.records.record_restart(record)?)
}

/// Deletes the pending restart of guest `name`; logs an error if that fails.
pub(super) fn cancel(records: &Records, name: &str) {
    if let Err(error) = records.drop_restart(name) {
        tracing::error!("{}", chain(&error));
    }
}

/// Returns whether another guest has the name. That includes the guest to restart, as long as its
/// end has not been handled.
fn name_is_taken(host: &Host, record: &Record) -> Result<bool, LifecycleError> {
    match guests::resolve(host, record.name()) {
        Ok(guest) => Ok(!matches!(guest.condition, Condition::Incomplete | Condition::Gone)),
        Err(LifecycleError::NoSuchGuest { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
