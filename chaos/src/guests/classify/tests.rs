// SPDX-License-Identifier: GPL-3.0-or-later
use xen::domain::{DomainState, ShutdownReason};
use xen::units::{DomId, DomainHandle, Pages};

use super::*;

const HANDLE: DomainHandle = DomainHandle([1; 16]);

/// The process that a handle names.
#[derive(Clone, Copy, Debug)]
enum Process {
    Gone,
    Command,
    Daemon,
}

impl CreatorFacts for Process {
    fn is_alive(&self) -> bool {
        !matches!(self, Self::Gone)
    }

    fn is_daemon(&self) -> bool {
        matches!(self, Self::Daemon)
    }
}

/// What Xen reports of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// It is paused and has never run.
    Fresh,
    /// It has run.
    HasRun,
    /// It shut down before it had used measurable CPU time.
    Ended,
}

fn info(life: Life) -> DomainInfo {
    let shutdown = (life == Life::Ended).then_some(ShutdownReason::Poweroff);
    let state = DomainState {
        dying: false,
        shutdown,
        paused: life != Life::HasRun,
        blocked: false,
        running: false,
    };
    DomainInfo {
        domid: DomId(3),
        handle: HANDLE,
        state,
        tot_pages: Pages(1024),
        max_pages: Pages(1024),
        cpu_time_ns: u64::from(life == Life::HasRun),
        online_vcpus: 1,
        max_vcpu_id: Some(0),
    }
}

fn record(handle: DomainHandle, paused: bool) -> FoundRecord {
    let text = "name='a'\ntype='pvh'\nkernel='/k'\nmemory=4";
    let config = crate::config::parse_str("test", text, &[], true).unwrap().config;
    FoundRecord::Whole(Box::new(Record { paused, ..Record::new(DomId(3), handle, config) }))
}

/// Returns the record that is found.
type Found<'a> = &'a dyn Fn() -> FoundRecord;

/// Returns the name of a condition.
fn name_of(condition: &Condition) -> &'static str {
    match condition {
        Condition::Guest(_) => "guest",
        Condition::Unrecorded => "unrecorded",
        Condition::Creating => "creating",
        Condition::Shell => "shell",
        Condition::Incomplete => "incomplete",
        Condition::Foreign => "foreign",
        Condition::Gone => "gone",
    }
}

#[test]
fn every_combination_has_its_condition() {
    use Life::{Ended, Fresh, HasRun};

    let own = || record(HANDLE, false);
    let paused = || record(HANDLE, true);
    let reused = || record(DomainHandle([2; 16]), false);
    let missing = || FoundRecord::Missing;
    let damaged = || FoundRecord::Damaged;

    // The columns are the conditions if the creator is another toolstack, gone, alive, a chaosd.
    let table: [(&str, Life, Found<'_>, [&str; 4]); 15] = [
        ("own", Fresh, &own, ["guest", "incomplete", "creating", "creating"]),
        ("own", HasRun, &own, ["guest"; 4]),
        ("own", Ended, &own, ["guest"; 4]),
        ("paused", Fresh, &paused, ["guest"; 4]),
        ("paused", HasRun, &paused, ["guest"; 4]),
        ("paused", Ended, &paused, ["guest"; 4]),
        ("reused", Fresh, &reused, ["foreign", "incomplete", "creating", "shell"]),
        ("reused", HasRun, &reused, ["foreign", "unrecorded", "unrecorded", "unrecorded"]),
        ("reused", Ended, &reused, ["foreign", "incomplete", "creating", "shell"]),
        ("missing", Fresh, &missing, ["foreign", "incomplete", "creating", "shell"]),
        ("missing", HasRun, &missing, ["foreign", "unrecorded", "unrecorded", "unrecorded"]),
        ("missing", Ended, &missing, ["foreign", "incomplete", "creating", "shell"]),
        ("damaged", Fresh, &damaged, ["foreign", "unrecorded", "unrecorded", "unrecorded"]),
        ("damaged", HasRun, &damaged, ["foreign", "unrecorded", "unrecorded", "unrecorded"]),
        ("damaged", Ended, &damaged, ["foreign", "unrecorded", "unrecorded", "unrecorded"]),
    ];
    let creators = [None, Some(Process::Gone), Some(Process::Command), Some(Process::Daemon)];
    for (name, life, record, expected) in table {
        for (creator, expected) in creators.iter().zip(expected) {
            let condition = classify(Some(&info(life)), record(), creator.as_ref());
            assert_eq!(name_of(&condition), expected, "{name}, {life:?}, {creator:?}");
            let gone = classify(None, record(), creator.as_ref());
            assert_eq!(gone, Condition::Gone, "{name}, {creator:?}");
        }
    }
}

#[test]
fn a_creator_is_asked_only_where_it_matters() {
    struct Unasked;

    impl CreatorFacts for Unasked {
        fn is_alive(&self) -> bool {
            panic!("/proc is read for nothing")
        }

        fn is_daemon(&self) -> bool {
            panic!("/proc is read for nothing")
        }
    }

    for life in [Life::HasRun, Life::Ended] {
        let condition = classify(Some(&info(life)), record(HANDLE, false), Some(&Unasked));
        assert_eq!(name_of(&condition), "guest");
    }
    let condition = classify(Some(&info(Life::HasRun)), FoundRecord::Missing, Some(&Unasked));
    assert_eq!(condition, Condition::Unrecorded);
}
