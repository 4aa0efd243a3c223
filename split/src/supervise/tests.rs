// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of what the supervisor decides without a host.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use chaos::guests::LifecycleError;
use chaos::records::{RecordError, Records};
use mio::{Events, Poll, Token, Waker};
use tempfile::TempDir;
use xen::units::{DomId, DomainHandle};

use super::removing::is_slow;
use super::*;
use crate::removal::Removal;

fn supervisor() -> Supervisor {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), Token(1)).unwrap());
    let removals = Removals::start_with(waker, || |_: &Removal| Some(Ok(()))).unwrap();
    Supervisor::new(removals, LineLimit::default())
}

#[test]
fn a_restart_whose_failure_ends_a_domain_is_retried_ever_less_often() {
    let (mut supervisor, start) = (supervisor(), Instant::now());
    let error = RestartError::OtherName { found: "b".to_owned() };
    supervisor.pending.insert("web".to_owned(), Attempts::default());
    let mut attempts = Vec::new();
    for ms in (0..600_000).step_by(10) {
        let now = start + Duration::from_millis(ms);
        if ms == 0 {
            supervisor.bring_forward(now);
        }
        supervisor.take_due(now);
        if let Some(name) = supervisor.due.pop_front() {
            attempts.push(ms);
            supervisor.failed(&name, &error, now);
            // The domain that the attempt had prepared is destroyed.
            supervisor.bring_forward(now);
        }
        assert!(supervisor.due.is_empty());
    }
    assert_eq!(attempts[0], 0, "the first attempt is made at once");
    let pauses: Vec<_> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().all(|pause| *pause >= 1000), "{pauses:?}");
    assert!(attempts.len() <= 30, "{attempts:?}");
}

#[test]
fn the_end_of_a_guest_is_handled_again_when_its_restart_could_not_be_written() {
    let (mut supervisor, start) = (supervisor(), Instant::now());
    let handle = DomainHandle([1; 16]);
    let one = EndedDomain { domid: DomId(3), handle, state: GuestState::Crashed };
    let source = io::Error::from(io::ErrorKind::StorageFull);
    let full = RecordError::File { doing: "write", path: "/run/chaos".into(), source };
    let error = RestartError::from(full);
    assert!(error.may_pass());
    supervisor.postpone(one, Attempts::default(), "web", &error, start);
    assert!(supervisor.kept.is_empty() && !supervisor.has_turns());
    assert_eq!(supervisor.next_timer(start), Some(start + RETRY));
    supervisor.take_due(start + RETRY);
    supervisor.take_due(start + RETRY);
    assert_eq!(supervisor.ended, [one]);
    supervisor.ended.clear();
    let attempts = supervisor.postponed.remove(&one.identity()).map(|(_, attempts)| attempts);
    supervisor.postpone(one, attempts.unwrap(), "web", &error, start + RETRY);
    assert_eq!(supervisor.next_timer(start), Some(start + 3 * RETRY), "the delay doubles");
}

#[test]
fn a_restart_without_retries_left_is_tried_when_a_domain_ends() {
    let (mut supervisor, start) = (supervisor(), Instant::now());
    let error = RestartError::OtherName { found: "b".to_owned() };
    for _ in 0..=MAX_RETRIES {
        supervisor.failed("web", &error, start);
    }
    assert_eq!(supervisor.next_timer(start), None);
    let later = start + Duration::from_secs(100);
    supervisor.bring_forward(later);
    supervisor.take_due(later);
    assert_eq!(supervisor.due, ["web"]);
    // What ends while it is due or has just failed is not forgotten.
    supervisor.due.clear();
    supervisor.failed("web", &error, later);
    supervisor.bring_forward(later + Duration::from_millis(1));
    assert_eq!(supervisor.next_timer(later), Some(later + Duration::from_secs(32)));
}

/// Returns the removal of a large guest, after which guest `web` is to be created again.
fn large_removal() -> Removal {
    let handle = DomainHandle([1; 16]);
    let ended = EndedDomain { domid: DomId(4), handle, state: GuestState::Rebooted };
    Removal {
        ended,
        owner: 0,
        successor: Some("web".to_owned()),
        dumps_core: false,
        renames: false,
    }
}

#[test]
fn a_restart_is_pending_when_the_large_guest_is_removed() {
    let mut poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), Token(1)).unwrap());
    let of_thread = |removal: &Removal| removal.successor.is_none().then_some(Ok(()));
    let removals = Removals::start_with(waker, move || of_thread).unwrap();
    let mut supervisor = Supervisor::new(removals, LineLimit::default());
    // The thread cannot remove the second one.
    for removal in [Removal { successor: None, ..large_removal() }, large_removal()] {
        assert!(supervisor.removals.order(removal).is_none());
    }
    let mut events = Events::with_capacity(1);
    let removed = RefCell::new(Vec::new());
    let records = Records::at("/nonexistent".into());
    while !supervisor.has_turns() {
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        assert!(!events.is_empty(), "the thread has stopped");
        supervisor.collect_with(&records, |removal| {
            removed.borrow_mut().push(removal.ended.domid);
            Ok(())
        });
    }
    assert_eq!(removed.into_inner(), [DomId(4)]);
    assert_eq!(supervisor.due, ["web"]);
    assert!(supervisor.pending.contains_key("web"), "a scan does not forget it");
}

/// Returns a supervisor whose thread removes the guest of [`large_removal`], and empty records.
fn removing() -> (Supervisor, TempDir, Records) {
    let (mut supervisor, folder) = (supervisor(), TempDir::new().unwrap());
    let records = Records::at(folder.path().to_owned());
    let ended = large_removal().ended;
    supervisor.kept.insert(ended.identity(), ended.state);
    (supervisor, folder, records)
}

#[test]
fn the_end_of_a_large_guest_that_a_command_has_locked_is_handled_again() {
    let ((mut supervisor, folder, records), now) = (removing(), Instant::now());
    let ended = large_removal().ended;
    let (domid, path) = (ended.domid, folder.path().to_owned());
    let locked = RecordError::Locked { domid, path, after: Duration::from_secs(10) };
    supervisor.removed(&records, large_removal(), Err(locked.into()), now);
    assert!(supervisor.kept.is_empty() && supervisor.due.is_empty());
    assert!(supervisor.pending.is_empty(), "the guest itself has the name");
    assert_eq!(supervisor.next_timer(now), Some(now + RETRY));
    supervisor.take_due(now + RETRY);
    assert_eq!(supervisor.ended, [ended]);
}

#[test]
fn a_large_guest_that_xen_does_not_remove_is_kept() {
    let ((mut supervisor, _folder, records), now) = (removing(), Instant::now());
    let ended = large_removal().ended;
    let refused = LifecycleError::NoSuchGuest { target: "web".to_owned() };
    supervisor.removed(&records, large_removal(), Err(refused), now);
    assert!(supervisor.kept.contains_key(&ended.identity()));
    assert!(supervisor.pending.is_empty() && !supervisor.has_turns());
    assert_eq!(supervisor.next_timer(now), None);
}

/// What creates a guest in a thread.
struct Threads {
    orders: u32,
}

impl Successors for Threads {
    fn check(&mut self, _: &Record) -> Result<(), RestartError> {
        Ok(())
    }

    fn create(&mut self, _: &Record) -> Result<u16, RestartError> {
        self.orders += 1;
        Err(RestartError::InThread)
    }

    fn cancel(&mut self, _: &str) {}
}

#[test]
fn a_guest_that_a_thread_creates_is_not_created_twice() {
    let (mut supervisor, mut threads) = (supervisor(), Threads { orders: 0 });
    let text = "name='web'\ntype='pvh'\nkernel='/k'\nvif=['script=vif-route']";
    let config = chaos::config::parse_str("x", text, &[], true).unwrap().config;
    let record = Record::new(DomId(3), DomainHandle([1; 16]), config);
    assert!(is_slow(&record), "its scripts run in the removal thread, too");
    let created = supervisor.create(&record, &mut threads, "web rebooted and".to_owned());
    assert_eq!((created, threads.orders), (None, 1));
    assert_eq!(supervisor.creating.keys().collect::<Vec<_>>(), ["web"]);
    assert!(supervisor.pending.contains_key("web"), "a scan does not forget it");
    assert_eq!(supervisor.waiting["web"], "web rebooted and");
    assert_eq!(supervisor.next_timer(Instant::now()), None, "the thread reports its end");
}
