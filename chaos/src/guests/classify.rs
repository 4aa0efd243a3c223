//! What a domain is to chaos: the decision by which guests are listed, cleared away and destroyed.
//!
//! [`classify`] is pure. What it needs to know comes from [`super::resolve`].

use xen::domain::DomainInfo;

use crate::handle::Creator;
use crate::records::Record;

/// What a domid stands for, from what Xen and the records say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A guest with its record.
    Guest(Box<Record>),
    /// A guest of chaos' that has run, whose record is missing or damaged. It is only removed when
    /// the user asks for it.
    Unrecorded,
    /// Another process is creating it.
    Creating,
    /// A shell of chaosd's pool.
    Shell,
    /// Its creator was killed before it was done. It has never run.
    Incomplete,
    /// Another toolstack's domain.
    Foreign,
    /// There is no such domain (any more).
    Gone,
}

/// What stands in a domain's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundRecord {
    /// There is none, or only the file that is prepared for one.
    Missing,
    /// It cannot be read.
    Damaged,
    /// A record, perhaps of a predecessor that had the same domid.
    Whole(Box<Record>),
}

/// What is asked of a domain's creator. It is asked only where the answer matters, because each
/// answer costs a look at `/proc`.
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

/// Decides what a domid stands for. `info` is what Xen says of the domain, `creator` whom its handle
/// names, if it is a handle of chaos'.
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
        // Its creator is about to let it run, or was killed just before.
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

/// Returns whether a guest has never run, though the user did not ask for it to be paused.
fn is_held_back(info: &DomainInfo, record: &Record) -> bool {
    info.state.paused && info.cpu_time_ns == 0 && !record.paused && info.state.shutdown.is_none()
}

#[cfg(test)]
mod tests;
