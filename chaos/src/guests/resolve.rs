// SPDX-License-Identifier: GPL-3.0-or-later
//! Finds a guest by its name or domid, and collects what is known of it.

use daemon::chain::chain;
use xen::domain::DomainInfo;
use xen::units::DomId;

use super::classify::{Condition, FoundRecord, classify};
use super::error::LifecycleError;
use super::host::Host;
use super::state::GuestState;
use crate::handle::{Creator, DomainIdentity};
use crate::hypervisor::Hypervisor;
use crate::records::Record;

/// What is known of a domid.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its number.
    pub domid: DomId,
    /// What Xen reports of it; `None` if it is gone.
    pub info: Option<DomainInfo>,
    /// What it is.
    pub condition: Condition,
    /// What is wrong with its record, if anything is.
    pub fault: Option<String>,
}

impl Guest {
    /// Returns its state.
    #[must_use]
    pub fn state(&self) -> GuestState {
        GuestState::of(self.info.as_ref(), &self.condition)
    }

    /// Returns how it has shut down, also if it was destroyed since then and Xen still knows it.
    #[must_use]
    pub fn end(&self) -> Option<GuestState> {
        GuestState::of_end(self.info.as_ref()?)
    }

    /// Returns its identity, if Xen knows it.
    #[must_use]
    pub fn identity(&self) -> Option<DomainIdentity> {
        let handle = self.info.as_ref()?.handle;
        Some(DomainIdentity { domid: self.domid, handle })
    }

    /// Returns its record. `target` is how the user called it.
    ///
    /// # Errors
    /// It is not a guest that chaos has finished, or it is gone.
    pub(super) fn record(&self, target: &str) -> Result<&Record, LifecycleError> {
        match &self.condition {
            Condition::Guest(record) => Ok(record),
            Condition::Creating => Err(LifecycleError::BeingCreated { domid: self.domid }),
            Condition::Shell => Err(LifecycleError::Shell { domid: self.domid }),
            Condition::Gone => Err(LifecycleError::NoSuchGuest { target: target.to_owned() }),
            _ => Err(LifecycleError::NoRecord { target: target.to_owned() }),
        }
    }

    /// Returns its name, or its number if it has none.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.condition {
            Condition::Guest(record) => record.name().to_owned(),
            _ => self.domid.0.to_string(),
        }
    }
}

/// Returns what is known of a domid.
///
/// # Errors
/// Xen refuses.
pub(super) fn examine<H: Hypervisor>(
    host: &Host<H>,
    domid: DomId,
) -> Result<Guest, LifecycleError> {
    let info = host.xen.domain_info(domid)?;
    examine_known(host, domid, info)
}

/// Returns what is known of a domid, for which Xen has just reported `info`.
///
/// # Errors
/// Xen refuses.
pub(super) fn examine_known<H: Hypervisor>(
    host: &Host<H>,
    domid: DomId,
    info: Option<DomainInfo>,
) -> Result<Guest, LifecycleError> {
    let guest = examine_once(host, domid, info);
    match guest.condition {
        // The creator may have finished the domain and exited between the checks of the record and
        // of the creator, or another process may have destroyed the domain since `info` was
        // reported, and removed its record. The second look is final.
        Condition::Incomplete | Condition::Unrecorded => {
            Ok(examine_once(host, domid, host.xen.domain_info(domid)?))
        }
        _ => Ok(guest),
    }
}

fn examine_once<H: Hypervisor>(host: &Host<H>, domid: DomId, info: Option<DomainInfo>) -> Guest {
    let (record, fault) = match host.records.read(domid) {
        Ok(Some(record)) => (FoundRecord::Whole(Box::new(record)), None),
        Ok(None) => (FoundRecord::Missing, None),
        Err(error) => (FoundRecord::Damaged, Some(chain(&error))),
    };
    let creator = info.as_ref().and_then(|info| creator(host, info));
    let condition = classify(info.as_ref(), record, creator.as_ref());
    Guest { domid, info, condition, fault }
}

/// Returns the process that created a domain, if chaos did.
pub(super) fn creator<H>(host: &Host<H>, info: &DomainInfo) -> Option<Creator> {
    let noted = || host.records.creator(info.domid, info.handle).and_then(Creator::of);
    Creator::of(info.handle).or_else(noted)
}

/// Finds a guest by its name, or by its domid.
///
/// # Errors
/// There is no such guest, or another toolstack created it.
pub fn resolve<H: Hypervisor>(host: &Host<H>, target: &str) -> Result<Guest, LifecycleError> {
    let no_such_guest = || LifecycleError::NoSuchGuest { target: target.to_owned() };
    if target.is_empty() || target.contains('/') {
        return Err(no_such_guest());
    }
    let by_name = host.records.holder(target)?;
    // Digits only: `parse` takes "+5", too, which may be the name of a guest that has just ended.
    let digits = target.bytes().all(|byte| byte.is_ascii_digit());
    let number = || target.parse().ok().filter(|_| digits).map(DomId);
    let Some(domid) = by_name.or_else(number) else {
        return Err(no_such_guest());
    };
    if !domid.is_guest() {
        return Err(LifecycleError::NotOurs { domid });
    }
    let guest = examine(host, domid)?;
    match guest.condition {
        Condition::Foreign if by_name.is_some() => {
            Ok(Guest { info: None, condition: Condition::Gone, ..guest })
        }
        Condition::Foreign => Err(LifecycleError::NotOurs { domid }),
        Condition::Gone if by_name.is_none() && !host.records.folder(domid).exists() => {
            Err(no_such_guest())
        }
        _ => Ok(guest),
    }
}
