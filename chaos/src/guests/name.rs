// SPDX-License-Identifier: GPL-3.0-or-later
//! Reserves the name of a guest that is being created.

use xen::units::DomId;

use super::classify::Condition;
use super::destroy;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::examine;
use crate::hypervisor::Hypervisor;
use crate::records::{PreparedRecord, RecordError, Records};

/// A reserved name. Dropping it frees the name, unless it is kept.
pub(super) struct Name<'a> {
    records: &'a Records,
    name: &'a str,
    kept: bool,
}

impl<'a> Name<'a> {
    /// Reserves a name for a domain, after removing what a killed process has left under it.
    ///
    /// # Errors
    /// [`RecordError::NameInUse`] if a guest has it, or another process is creating one.
    pub(super) fn reserve<H: Hypervisor>(
        host: &'a Host<H>,
        name: &'a str,
        domid: DomId,
        prepared: Option<&PreparedRecord>,
    ) -> Result<Self, LifecycleError> {
        match host.records.reserve_name(name, domid, prepared) {
            Err(RecordError::NameInUse { .. }) => {
                free_name(host, name, domid)?;
                host.records.reserve_name(name, domid, prepared)?;
            }
            result => result?,
        }
        Ok(Self { records: &host.records, name, kept: false })
    }

    /// Keeps it reserved.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Name<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // The error is not reported, because the create has failed with another one. The next
            // create takes a name that leads to no guest.
            let _ = self.records.remove_name(self.name);
        }
    }
}

/// Removes what a killed process has left under a name, or fails if a guest has it. Does not
/// reserve the name: only [`Records::reserve_name`] does that, and fails if another process is
/// faster.
fn free_name<H: Hypervisor>(
    host: &Host<H>,
    name: &str,
    for_domid: DomId,
) -> Result<(), LifecycleError> {
    let Some(domid) = host.records.holder(name)? else { return Ok(()) };
    if domid == for_domid {
        // The guest that had the name is gone, and Xen has reused its domid for the new one.
        return Ok(host.records.remove_name(name)?);
    }
    let guest = examine(host, domid)?;
    match guest.condition {
        Condition::Guest(record) if record.name() == name => {
            Err(RecordError::NameInUse { name: name.to_owned(), domid }.into())
        }
        Condition::Creating | Condition::Shell | Condition::Unrecorded => {
            Err(RecordError::NameInUse { name: name.to_owned(), domid }.into())
        }
        Condition::Incomplete => destroy::remove(host, &guest).map(drop),
        // Xen has reused the domid: only the name is stale.
        Condition::Guest(_) | Condition::Foreign => Ok(host.records.remove_name(name)?),
        Condition::Gone => Ok(host.records.remove(domid, Some(name))?),
    }
}
