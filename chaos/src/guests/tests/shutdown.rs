// SPDX-License-Identifier: GPL-3.0-or-later
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use noxs::{Request, RequestId};
use xen::domain::ShutdownReason;

use super::noxsd::Behaviour;
use super::{Bed, config, config_without_devices};
use crate::announce::xenstore::EndWatch;
use crate::config::{Action, DomainConfig};
use crate::guests::sysctl::{self, Channel};
use crate::guests::watch::DomainWatch;
use crate::guests::{
    GuestState, LifecycleError, ShutdownOptions, ShutdownOutcome, pause, shutdown, unpause,
};
use crate::hypervisor::fake::Reaction;
use crate::records::RecordError;

/// Returns options without a timeout: the fake guest reacts at once when it is notified.
fn options(wait: bool) -> ShutdownOptions {
    let (request, timeout) = (Request::Poweroff, Duration::ZERO);
    ShutdownOptions { request, wait, is_supervised: false, timeout }
}

fn ask(bed: &Bed, reaction: Reaction, wait: bool) -> Result<ShutdownOutcome, LifecycleError> {
    bed.xen().react(reaction);
    shutdown(&bed.host, "a", options(wait))
}

#[test]
fn a_guest_that_accepts_is_waited_for_only_with_wait() {
    let bed = Bed::new();
    bed.create(&config_without_devices("a")).unwrap();
    let outcome = ask(&bed, Reaction::Accepts, false).unwrap();
    assert_eq!((outcome.state, outcome.destroyed), (GuestState::Runnable, false));
    let late = ask(&bed, Reaction::Accepts, true);
    assert!(matches!(late, Err(LifecycleError::TimedOut { what: "exited", .. })), "{late:?}");
    assert_eq!(bed.xen().domids(), [1]);
}

#[test]
fn a_guest_that_powers_off_is_destroyed_only_with_wait() {
    for wait in [false, true] {
        let bed = Bed::new();
        bed.create(&config_without_devices("a")).unwrap();
        let outcome = ask(&bed, Reaction::PowersOff, wait).unwrap();
        assert_eq!((outcome.state, outcome.destroyed), (GuestState::PoweredOff, wait));
        assert_eq!(bed.xen().domids().is_empty(), wait);
    }
}

#[test]
fn what_the_config_says_decides_whether_a_guest_that_was_waited_for_is_destroyed() {
    for action in [Action::Destroy, Action::Preserve, Action::Restart, Action::RenameRestart] {
        let bed = Bed::new();
        let config = DomainConfig { on_poweroff: action, ..config_without_devices("a") };
        bed.create(&config).unwrap();
        let outcome = ask(&bed, Reaction::PowersOff, true).unwrap();
        let is_destroyed = action == Action::Destroy;
        assert_eq!((outcome.action, outcome.destroyed), (action, is_destroyed));
        assert_eq!(bed.xen().domids().is_empty(), is_destroyed, "{action:?}");
    }
}

#[test]
fn chaosd_alone_removes_a_guest_that_is_waited_for() {
    let bed = Bed::new();
    let created = bed.create(&config_without_devices("a")).unwrap();
    bed.xen().react(Reaction::PowersOff);
    let supervised = ShutdownOptions { is_supervised: true, ..options(true) };
    let late = shutdown(&bed.host, "a", supervised).unwrap_err();
    assert!(late.to_string().contains("has not been removed by chaosd"), "{late}");
    assert_eq!(bed.xen().domids(), [created.domid.0]);
    // It is gone when it is looked at for the second time.
    bed.xen().remove_after("domain_info", created.domid);
    let timeout = Duration::from_secs(60);
    let outcome = shutdown(&bed.host, "a", ShutdownOptions { timeout, ..supervised }).unwrap();
    assert_eq!((outcome.state, outcome.destroyed), (GuestState::PoweredOff, true));
}

#[test]
fn nothing_is_asked_of_a_guest_that_has_ended() {
    let bed = Bed::new();
    bed.create(&config_without_devices("a")).unwrap();
    ask(&bed, Reaction::PowersOff, false).unwrap();
    for result in [
        ask(&bed, Reaction::Accepts, false).map(drop),
        pause(&bed.host, "a"),
        unpause(&bed.host, "a"),
    ] {
        let text = result.unwrap_err().to_string();
        assert_eq!(text, "guest a has powered off already; chaos destroy a removes it");
    }
}

#[test]
fn each_request_has_a_number_of_its_own() {
    let bed = Bed::new();
    let created = bed.create(&config_without_devices("a")).unwrap();
    for number in 1..4 {
        ask(&bed, Reaction::Accepts, false).unwrap();
        let record = bed.host.records.read(created.domid).unwrap().unwrap();
        assert_eq!(record.device_page.unwrap().requests, number);
    }
}

#[test]
fn a_guest_that_does_not_support_the_request_is_reported() {
    let bed = Bed::new();
    bed.create(&config_without_devices("a")).unwrap();
    let refused = ask(&bed, Reaction::Refuses, true);
    assert!(matches!(refused, Err(LifecycleError::Unsupported { .. })), "{refused:?}");
    assert_eq!(bed.xen().domids(), [1]);
}

#[test]
fn a_guest_that_does_not_answer_times_out() {
    let bed = Bed::new();
    bed.create(&config_without_devices("a")).unwrap();
    let late = ask(&bed, Reaction::Silent, true);
    assert!(matches!(late, Err(LifecycleError::TimedOut { what: "answered", .. })), "{late:?}");
    assert_eq!(bed.xen().domids(), [1]);
}

#[test]
fn a_guest_that_rings_in_a_loop_does_not_move_the_deadline() {
    for wait in [false, true] {
        let bed = Bed::new();
        bed.create(&config_without_devices("a")).unwrap();
        bed.xen().react(Reaction::Rings);
        let timeout = Duration::from_millis(20);
        let late = shutdown(&bed.host, "a", ShutdownOptions { timeout, ..options(wait) });
        assert!(matches!(late, Err(LifecycleError::TimedOut { what: "answered", .. })), "{late:?}");
    }
}

#[test]
fn a_timeout_of_any_size_is_possible() {
    for timeout in [Duration::from_secs(u64::MAX), Duration::MAX] {
        let bed = Bed::new();
        bed.create(&config_without_devices("a")).unwrap();
        bed.xen().react(Reaction::PowersOff);
        shutdown(&bed.host, "a", ShutdownOptions { timeout, ..options(true) }).unwrap();
    }
}

#[test]
fn a_guest_that_exits_before_it_answers_is_reported_as_exited() {
    let bed = Bed::new();
    bed.create(&config_without_devices("a")).unwrap();
    let outcome = ask(&bed, Reaction::EndsFirst, true).unwrap();
    assert_eq!((outcome.state, outcome.destroyed), (GuestState::PoweredOff, true));
    bed.assert_empty("after shutdown");
}

#[test]
fn a_guest_that_exits_instead_of_an_answer_is_noticed_where_xenstored_reports_nothing() {
    let bed = Bed::new();
    let created = bed.create(&config_without_devices("a")).unwrap();
    let page = created.record.device_page.as_ref().unwrap();
    let channel = Channel::open(&bed.host, created.domid, page).unwrap();
    let (here, _xenstored) = UnixStream::pair().unwrap();
    let mut watch = DomainWatch::XenStore(EndWatch::over(here));
    // It is gone when it is looked at for the second time.
    bed.xen().remove_after("domain_info", created.domid);
    let began = Instant::now();
    let deadline = began + Duration::from_secs(60);
    let reaction = channel.wait(&bed.host, RequestId(1), deadline, Some(&mut watch)).unwrap();
    assert_eq!(reaction, sysctl::Reaction::Ended);
    assert!(began.elapsed() >= Duration::from_millis(50), "it waits between the looks");
    assert!(Instant::now() < deadline);
}

#[test]
fn a_guest_that_has_exited_already_is_not_asked() {
    let bed = Bed::new();
    let domid = bed.create(&config_without_devices("a")).unwrap().domid;
    bed.xen().change(domid, |info| info.state.shutdown = Some(ShutdownReason::Crash));
    bed.done();
    let outcome = ask(&bed, Reaction::Silent, true).unwrap();
    assert_eq!(outcome.state, GuestState::Crashed);
    assert!(!bed.done().contains(&"xen: notify 1".to_owned()));
    bed.assert_empty("after shutdown");
}

#[test]
fn only_a_wait_needs_a_watch() {
    let (bed, noxsd) = Bed::with_noxsd();
    bed.create(&config("a")).unwrap();
    noxsd.behave(Behaviour::Dies("watch"));
    let unwatched = ask(&bed, Reaction::Accepts, true);
    assert!(matches!(unwatched, Err(LifecycleError::Watch { .. })), "{unwatched:?}");
    ask(&bed, Reaction::Accepts, false).unwrap();
}

#[test]
fn a_guest_without_a_usable_record_cannot_be_asked() {
    let bed = Bed::new();
    let domid = bed.create(&config_without_devices("a")).unwrap().domid;
    std::fs::write(bed.host.records.folder(domid).join("record"), "damaged").unwrap();
    let unknown = ask(&bed, Reaction::Accepts, false);
    assert!(matches!(unknown, Err(LifecycleError::NoRecord { .. })), "{unknown:?}");
    let missing = shutdown(&bed.host, "b", options(false));
    assert!(matches!(missing, Err(LifecycleError::NoSuchGuest { .. })), "{missing:?}");
}

#[test]
fn another_command_that_waits_for_the_guest_does_not_move_the_deadline() {
    let bed = Bed::new();
    let domid = bed.create(&config_without_devices("a")).unwrap().domid;
    let _other = bed.host.records.lock(domid).unwrap();
    let began = Instant::now();
    let timeout = Duration::from_millis(50);
    let late = shutdown(&bed.host, "a", ShutdownOptions { timeout, ..options(false) });
    let Err(LifecycleError::Record(RecordError::Locked { after, .. })) = late else {
        panic!("{late:?}")
    };
    assert!(after <= timeout && began.elapsed() < Duration::from_secs(5));
}
