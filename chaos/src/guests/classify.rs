// SPDX-License-Identifier: GPL-3.0-or-later
//! Decides what a domain is to chaos, and so which domains are listed as guests, cleaned up or
//! destroyed.
//!
//! [`classify`] is pure; [`resolve`](super::resolve()) collects its arguments.

use xen::domain::DomainInfo;

use crate::handle::Creator;
use crate::records::Record;

/// What a domid stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A guest with its record.
    Guest(Box<Record>),
    /// A guest that chaos created and that has run, but whose record is missing or damaged. It is
    /// removed only if the user asks for it.
    Unrecorded,
    /// Another process is creating it.
    Creating,
    /// A shell of chaosd's pool.
    Shell,
    /// Its creator was killed before it had finished. The domain has never run.
    Incomplete,
    /// A domain of another toolstack.
    Foreign,
    /// There is no domain of this number, or no longer.
    Gone,
}

/// The record of a domain, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundRecord {
    /// There is none, or only the file that was prepared for it.
    Missing,
    /// It cannot be read.
    Damaged,
    /// It was read. It may belong to a predecessor that had the same domid.
    Whole(Box<Record>),
}

/// Facts about the process that created a domain. [`classify`] asks for them only where they
/// matter, because each answer costs reading a file of `/proc`.
pub trait CreatorFacts {
    /// Returns whether the process still runs.
    fn is_alive(&self) -> bool;
    /// Returns whether the process is a chaosd.
    fn is_daemon(&self) -> bool;
}

impl CreatorFacts for Creator {
    fn is_alive(&self) -> bool {
        Self::is_alive(*self)
    }

    fn is_daemon(&self) -> bool {
        Self::is_daemon(*self)
    }
}

/// Decides what a domid stands for. `info` is what Xen reports of the domain, `creator` the process
/// that its handle names, if chaos created the domain.
pub fn classify(
    info: Option<&DomainInfo>,
    record: FoundRecord,
    creator: Option<&impl CreatorFacts>,
) -> Condition {
    let Some(info) = info else { return Condition::Gone };
    let (record, damaged) = match record {
        FoundRecord::Whole(record) if record.handle == info.handle => (Some(record), false),
        FoundRecord::Whole(_) | FoundRecord::Missing => (None, false),
        FoundRecord::Damaged => (None, true),
    };
    match (record, creator) {
        // Its creator is about to unpause it, or was killed just before.
        (Some(record), Some(creator)) if is_held_back(info, &record) => match creator.is_alive() {
            true => Condition::Creating,
            false => Condition::Incomplete,
        },
        (Some(record), _) => Condition::Guest(record),
        (None, None) => Condition::Foreign,
        (None, Some(_)) if info.cpu_time_ns > 0 || damaged => Condition::Unrecorded,
        (None, Some(creator)) if creator.is_alive() => match creator.is_daemon() {
            true => Condition::Shell,
            false => Condition::Creating,
        },
        (None, Some(_)) => Condition::Incomplete,
    }
}

/// Returns whether a guest has never run although the user did not ask for it to be paused.
fn is_held_back(info: &DomainInfo, record: &Record) -> bool {
    info.state.paused && info.cpu_time_ns == 0 && !record.paused && info.state.shutdown.is_none()
}

#[cfg(test)]
mod tests;
