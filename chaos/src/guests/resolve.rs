//! Finding a guest by its name or number, and gathering what is known of it.

use daemon::chain::chain;
use xen::domain::DomainInfo;
use xen::units::DomId;

use super::classify::{Condition, FoundRecord, classify};
use super::error::LifecycleError;
use super::host::Host;
use super::state::GuestState;
use crate::handle::{Creator, DomainIdentity};
use crate::hypervisor::Hypervisor;

/// A domid with what is known of it.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its number.
    pub domid: DomId,
    /// What Xen says of it; `None` if it is gone.
    pub info: Option<DomainInfo>,
    /// What it is.
    pub condition: Condition,
    /// The record's fault, if it has one.
    pub fault: Option<String>,
}

impl Guest {
    /// Returns how it is.
    #[must_use]
    pub fn state(&self) -> GuestState {
        GuestState::of(self.info.as_ref(), &self.condition)
    }

    /// Returns how it has ended by itself, also if it was destroyed since and Xen still knows it.
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

    /// Returns its name, or its number where it has none.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.condition {
            Condition::Guest(record) => record.name().to_owned(),
            _ => self.domid.0.to_string(),
        }
    }
}

/// Returns what a domid stands for.
///
/// # Errors
/// Xen refuses.
pub(super) fn examine<H: Hypervisor>(
    host: &Host<H>,
    domid: DomId,
) -> Result<Guest, LifecycleError> {
    let info = host.xen.domain_info(domid)?;
    judge(host, domid, info)
}

/// Returns what a domain is, of which `info` is known already.
///
/// # Errors
/// Xen refuses.
pub(super) fn judge<H: Hypervisor>(
    host: &Host<H>,
    domid: DomId,
    info: Option<DomainInfo>,
) -> Result<Guest, LifecycleError> {
    let guest = judge_once(host, domid, info);
    match guest.condition {
        // Its creator may have finished it and exited while it was looked at. Now that the creator is
        // gone, nothing changes any more.
        Condition::Incomplete => Ok(judge_once(host, domid, host.xen.domain_info(domid)?)),
        _ => Ok(guest),
    }
}

fn judge_once<H: Hypervisor>(host: &Host<H>, domid: DomId, info: Option<DomainInfo>) -> Guest {
    let (record, fault) = match host.records.read(domid) {
        Ok(Some(record)) => (FoundRecord::Whole(Box::new(record)), None),
        Ok(None) => (FoundRecord::Missing, None),
        Err(error) => (FoundRecord::Damaged, Some(chain(&error))),
    };
    let creator = info.as_ref().and_then(|info| Creator::of(info.handle));
    let condition = classify(info.as_ref(), record, creator.as_ref());
    Guest { domid, info, condition, fault }
}

/// Finds a guest by its name, or by its domid.
///
/// # Errors
/// There is no such guest, or it is another toolstack's.
pub fn resolve<H: Hypervisor>(host: &Host<H>, target: &str) -> Result<Guest, LifecycleError> {
    let no_such_guest = || LifecycleError::NoSuchGuest { target: target.to_owned() };
    if target.is_empty() || target.contains('/') {
        return Err(no_such_guest());
    }
    let by_name = host.records.holder(target)?;
    let Some(domid) = by_name.or_else(|| target.parse().ok().map(DomId)) else {
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
