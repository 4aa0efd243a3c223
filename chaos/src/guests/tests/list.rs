// SPDX-License-Identifier: GPL-3.0-or-later
use nix::errno::Errno;
use xen::domain::ShutdownReason;
use xen::units::{DomId, DomainHandle};

use super::noxsd::Behaviour;
use super::{Bed, config, config_without_devices};
use crate::clients::noxsd::{BackendError, Link};
use crate::guests::{GuestState, ListedGuest, list, pause, unpause};
use crate::handle;

fn listed(bed: &Bed, all: bool) -> Vec<ListedGuest> {
    list(&bed.host, all).unwrap().guests
}

fn states(guests: &[ListedGuest]) -> Vec<(Option<u16>, Option<&str>, GuestState)> {
    guests.iter().map(|guest| (guest.domid, guest.name.as_deref(), guest.state)).collect()
}

#[test]
fn each_condition_has_its_state() {
    let (bed, _noxsd) = Bed::with_noxsd();
    bed.create(&config("runs")).unwrap();
    let gone = bed.create(&config("gone")).unwrap();
    bed.xen().remove(gone.domid);
    bed.leave_incomplete(DomId(4), handle::new_handle().unwrap(), "creating");
    bed.xen().add(DomId(5), DomainHandle([7; 16]));
    let mut pending = gone.record;
    (pending.domid, pending.config.name) = (DomId(6), "pending".to_owned());
    bed.host.records.record_restart(&pending).unwrap();
    let guests = listed(&bed, false);
    assert_eq!(
        states(&guests),
        [
            (Some(1), Some("runs"), GuestState::Runnable),
            (Some(2), Some("gone"), GuestState::Gone),
            (Some(4), Some("creating"), GuestState::Creating),
            (Some(6), Some("pending"), GuestState::PendingRestart),
        ]
    );
    assert_eq!(listed(&bed, true).len(), guests.len() + 1, "also the domain of another toolstack");
}

#[test]
fn a_guest_with_a_damaged_record_is_listed_with_its_fault() {
    let bed = Bed::new();
    let domid = bed.create(&config_without_devices("a")).unwrap().domid;
    std::fs::write(bed.host.records.folder(domid).join("record"), [99, 1, 2]).unwrap();
    let guests = listed(&bed, false);
    assert_eq!(states(&guests), [(Some(1), Some("a"), GuestState::Runnable)]);
    assert!(guests[0].fault.as_ref().unwrap().contains("version 99"), "{:?}", guests[0].fault);
}

#[test]
fn a_damaged_pending_restart_is_listed_with_its_fault() {
    let bed = Bed::new();
    let record = bed.create(&config_without_devices("a")).unwrap().record;
    bed.host.records.record_restart(&record).unwrap();
    std::fs::write(bed.folder.path().join("records/restarts/b"), "damaged").unwrap();
    let guests = listed(&bed, false);
    // Guest a exists, so its pending restart is not listed.
    assert_eq!(
        states(&guests),
        [(None, Some("b"), GuestState::PendingRestart), (Some(1), Some("a"), GuestState::Runnable)]
    );
    assert!(guests[0].fault.is_some());
}

#[test]
fn guests_are_listed_even_if_noxsd_does_not_answer() {
    let bed = Bed::new();
    bed.create(&config_without_devices("a")).unwrap();
    let listed = list(&bed.host, false).unwrap();
    assert_eq!(listed.guests.len(), 1);
    assert!(listed.unserved.is_none(), "the guest has no devices");
    bed.xen().fail("domain_list", Errno::EPERM);
    list(&bed.host, false).unwrap_err();
}

#[test]
fn a_list_says_why_noxsd_serves_no_guest() {
    let (mut bed, noxsd) = Bed::with_noxsd();
    bed.create(&config("a")).unwrap();
    assert!(list(&bed.host, false).unwrap().unserved.is_none());
    drop(noxsd);
    bed.host.noxsd = Link::new(bed.folder.path().join("none.sock")).into();
    let unserved = list(&bed.host, false).unwrap().unserved;
    assert!(matches!(unserved, Some(BackendError::NotRunning { .. })), "{unserved:?}");
    // A guest that has ended has nothing to be served.
    bed.xen().change(DomId(1), |info| info.state.shutdown = Some(ShutdownReason::Poweroff));
    assert!(list(&bed.host, false).unwrap().unserved.is_none());
}

#[test]
fn a_noxsd_with_more_drops_than_there_can_be_is_not_believed() {
    let (bed, noxsd) = Bed::with_noxsd();
    noxsd.behave(Behaviour::DropsForEver);
    let dropped = bed.host.noxsd.call(crate::clients::noxsd::Noxsd::dropped);
    assert!(
        matches!(dropped, Err(BackendError::Unexpected(_) | BackendError::Silent(_))),
        "{} vifs",
        dropped.map_or(0, |all| all.len())
    );
    assert_eq!(listed(&bed, false).len(), 0);
}

#[test]
fn a_guest_that_is_paused_before_it_has_run_is_not_incomplete() {
    let bed = Bed::new();
    let domid = bed.create(&config_without_devices("a")).unwrap().domid;
    bed.xen().change(domid, |info| info.cpu_time_ns = 0);
    pause(&bed.host, "a").unwrap();
    assert_eq!(listed(&bed, false)[0].state, GuestState::Paused);
    unpause(&bed.host, "a").unwrap();
    assert_eq!(listed(&bed, false)[0].state, GuestState::Runnable);
}
