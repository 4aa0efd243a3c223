//! Finding a guest by its name or number, and saying what it is.

use serde::Serialize;
use xen::domain::{DomainInfo, ShutdownReason};
use xen::units::DomId;

use super::{Host, LifecycleError};
use crate::chain::chain;
use crate::handle::Creator;
use crate::records::Record;

/// What a domid stands for, from what Xen and the records say.
#[derive(Clone, Debug)]
pub enum Condition {
    /// A guest with its record.
    Guest(Box<Record>),
    /// A guest of ours that has run, whose record is missing or damaged. It is never removed
    /// unasked.
    Unrecorded,
    /// Another process is making it right now.
    BeingMade,
    /// A shell of the daemon's pool.
    Shell,
    /// Its maker was killed before it was done. It has never run.
    HalfMade,
    /// Another toolstack's domain.
    Foreign,
    /// There is no such domain (any more).
    Gone,
}

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

/// How a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestState {
    /// It has a CPU right now.
    Running,
    /// It waits for something.
    Blocked,
    /// It was paused, or never started.
    Paused,
    /// It wants a CPU.
    Runnable,
    /// It powered off.
    PoweredOff,
    /// It asked to be started again.
    Rebooted,
    /// It suspended.
    Suspended,
    /// It crashed.
    Crashed,
    /// Xen is taking it away.
    Dying,
    /// Another process is making it.
    BeingMade,
    /// It waits in the daemon's pool.
    Shell,
    /// Its maker was killed.
    HalfMade,
    /// Only its record is left.
    Gone,
    /// It is gone, and chaosd is to make it again.
    ToRestart,
}

impl GuestState {
    /// The word for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::Runnable => "runnable",
            Self::PoweredOff => "powered off",
            Self::Rebooted => "rebooted",
            Self::Suspended => "suspended",
            Self::Crashed => "crashed",
            Self::Dying => "dying",
            Self::BeingMade => "being made",
            Self::Shell => "shell",
            Self::HalfMade => "half-made",
            Self::Gone => "gone",
            Self::ToRestart => "to restart",
        }
    }

    /// Whether the guest has ended and only waits to be removed.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::PoweredOff | Self::Rebooted | Self::Crashed | Self::Dying | Self::Gone)
    }
}

impl Guest {
    /// How it is.
    #[must_use]
    pub fn state(&self) -> GuestState {
        let Some(info) = &self.info else { return GuestState::Gone };
        match self.condition {
            Condition::BeingMade => return GuestState::BeingMade,
            Condition::Shell => return GuestState::Shell,
            Condition::HalfMade => return GuestState::HalfMade,
            _ => {}
        }
        if info.state.dying {
            return GuestState::Dying;
        }
        match self.end() {
            Some(end) => end,
            None if info.state.paused => GuestState::Paused,
            None if info.state.running => GuestState::Running,
            None if info.state.blocked => GuestState::Blocked,
            None => GuestState::Runnable,
        }
    }

    /// How it has ended by itself, also if it was destroyed since and Xen still knows it.
    #[must_use]
    pub fn end(&self) -> Option<GuestState> {
        Some(match self.info.as_ref()?.state.shutdown? {
            ShutdownReason::Poweroff => GuestState::PoweredOff,
            ShutdownReason::Reboot | ShutdownReason::SoftReset => GuestState::Rebooted,
            ShutdownReason::Suspend => GuestState::Suspended,
            _ => GuestState::Crashed,
        })
    }

    /// Its name, or its number where it has none.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.condition {
            Condition::Guest(record) => record.name().to_owned(),
            _ => self.domid.0.to_string(),
        }
    }
}

/// Says what a domid stands for.
///
/// # Errors
/// Xen refuses to tell.
pub(super) fn examine(host: &Host, domid: DomId) -> Result<Guest, LifecycleError> {
    let info = host.xen.domain_info(domid)?;
    judge(host, domid, info)
}

/// Says what a domain is of which Xen has told already.
///
/// # Errors
/// Xen refuses to tell more.
pub(super) fn judge(
    host: &Host,
    domid: DomId,
    info: Option<DomainInfo>,
) -> Result<Guest, LifecycleError> {
    let guest = judge_once(host, domid, info);
    match guest.condition {
        // Its maker may have finished it and ended while it was looked at. Now that the maker is
        // gone, nothing changes any more.
        Condition::HalfMade => Ok(judge_once(host, domid, host.xen.domain_info(domid)?)),
        _ => Ok(guest),
    }
}

fn judge_once(host: &Host, domid: DomId, info: Option<DomainInfo>) -> Guest {
    let (record, fault) = match host.records.read(domid) {
        Ok(record) => (record, None),
        Err(error) => (None, Some(chain(&error))),
    };
    let condition = match &info {
        None => Condition::Gone,
        Some(info) => {
            let record = record.filter(|record| record.handle == info.handle);
            match (record, Creator::of(info.handle)) {
                // Its maker is about to let it run, or was killed just before.
                (Some(record), Some(creator)) if is_held_back(info, &record) => {
                    match creator.is_alive() {
                        true => Condition::BeingMade,
                        false => Condition::HalfMade,
                    }
                }
                (Some(record), _) => Condition::Guest(Box::new(record)),
                (None, None) => Condition::Foreign,
                (None, Some(_)) if info.cpu_time_ns > 0 || fault.is_some() => Condition::Unrecorded,
                (None, Some(creator)) if creator.is_alive() => match creator.is_daemon() {
                    true => Condition::Shell,
                    false => Condition::BeingMade,
                },
                (None, Some(_)) => Condition::HalfMade,
            }
        }
    };
    Guest { domid, info, condition, fault }
}

/// Whether a guest has never run, and nobody has asked for it to be paused.
fn is_held_back(info: &DomainInfo, record: &Record) -> bool {
    info.state.paused && info.cpu_time_ns == 0 && !record.paused && info.state.shutdown.is_none()
}

/// Finds a guest by its name, or by its domid.
///
/// # Errors
/// There is no such guest, or it is another toolstack's.
pub fn resolve(host: &Host, target: &str) -> Result<Guest, LifecycleError> {
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
