//! Reserving the name of a guest that is created.

use xen::units::DomId;

use super::classify::Condition;
use super::destroy;
use super::error::LifecycleError;
use super::host::Host;
use super::resolve::examine;
use crate::hypervisor::Hypervisor;
use crate::records::{PreparedRecord, RecordError, Records};

/// A name that is reserved; free again when dropped unless it is kept.
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
            // The error is not reported: this runs while another one is on its way. A name that leads
            // to no guest is free for the next create.
            let _ = self.records.remove_name(self.name);
        }
    }
}

/// Makes sure that no guest has the name, and removes what a killed process has left under it. Only
/// [`Records::reserve_name`] reserves it.
fn free_name<H: Hypervisor>(
    host: &Host<H>,
    name: &str,
    for_domid: DomId,
) -> Result<(), LifecycleError> {
    let Some(domid) = host.records.holder(name)? else { return Ok(()) };
    if domid == for_domid {
        // Xen has given the domid of the guest that had the name, and is gone, to the new one.
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
        // The domid has gone to another domain: only the name is stale.
        Condition::Guest(_) | Condition::Foreign => Ok(host.records.remove_name(name)?),
        Condition::Gone => Ok(host.records.remove(domid, Some(name))?),
    }
}
