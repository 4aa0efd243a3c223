// SPDX-License-Identifier: GPL-3.0-or-later
use xen::domain::ShutdownReason;
use xen::units::{DomId, DomainHandle};

use super::{Bed, config_without_devices};
use crate::config::{DomainConfig, Extras};
use crate::guests::{
    CreateOptions, DomainScan, DomainStage, EndedDomain, GuestState, ended_guest, handles,
    of_request, old_copies, rename_ended,
};
use crate::handle::DomainIdentity;
use crate::records::RecordError;

fn end(bed: &Bed, domid: DomId, reason: ShutdownReason) {
    bed.xen().change(domid, |info| info.state.shutdown = Some(reason));
}

#[test]
fn a_guest_that_is_renamed_remembers_its_name_and_the_newest_copies_are_kept() {
    let bed = Bed::new();
    // Another guest has the name that a copy would have, and is never taken for one.
    let other = bed.create(&config_without_devices("web-2")).unwrap();
    end(&bed, other.domid, ShutdownReason::Poweroff);
    let mut copies = Vec::new();
    for number in 0..4 {
        let created = bed.create(&config_without_devices("web")).unwrap();
        let mut record = created.record;
        record.created_ms = 1000 + number;
        bed.host.records.replace(&record).unwrap();
        end(&bed, created.domid, ShutdownReason::Crash);
        let guest = ended_guest(&bed.host, created.domid).unwrap().unwrap();
        rename_ended(&bed.host, &guest).unwrap();
        copies.push(created.domid);
    }
    let surplus = old_copies(&bed.host, "web", 0, 2).unwrap();
    let surplus: Vec<_> = surplus.iter().map(|copy| copy.domid).collect();
    assert_eq!(surplus, [copies[1], copies[0]]);
    assert_eq!(old_copies(&bed.host, "we", 0, 0).unwrap(), []);
}

#[test]
fn the_copies_of_another_user_who_had_the_name_before_are_not_surplus() {
    let bed = Bed::new();
    let mut copies = Vec::new();
    for owner in [0, 7] {
        let options = CreateOptions { owner, ..CreateOptions::default() };
        let created = bed.create_with(&config_without_devices("web"), options).unwrap();
        end(&bed, created.domid, ShutdownReason::Crash);
        let guest = ended_guest(&bed.host, created.domid).unwrap().unwrap();
        rename_ended(&bed.host, &guest).unwrap();
        copies.push(created.domid);
    }
    for (owner, copy) in [0, 7].into_iter().zip(copies) {
        let surplus = old_copies(&bed.host, "web", owner, 0).unwrap();
        assert_eq!(surplus.iter().map(|copy| copy.domid).collect::<Vec<_>>(), [copy]);
    }
}

#[test]
fn a_guest_whose_record_is_locked_is_not_renamed_halfway() {
    let bed = Bed::new();
    let created = bed.create(&config_without_devices("web")).unwrap();
    end(&bed, created.domid, ShutdownReason::Crash);
    let guest = ended_guest(&bed.host, created.domid).unwrap().unwrap();
    let lock = bed.host.records.try_lock(created.domid).unwrap();
    let locked = rename_ended(&bed.host, &guest).unwrap_err();
    let expected = crate::guests::LifecycleError::Record(RecordError::Locked {
        domid: created.domid,
        path: bed.host.records.folder(created.domid).join("lock"),
        after: std::time::Duration::ZERO,
    });
    assert_eq!(locked.to_string(), expected.to_string());
    assert_eq!(bed.host.records.names().unwrap(), [("web".to_owned(), created.domid)]);
    drop(lock);
    assert_eq!(rename_ended(&bed.host, &guest).unwrap().name, "web-1");
}

#[test]
fn a_suspended_guest_is_listed_as_ended_and_is_not_the_supervisors() {
    let bed = Bed::new();
    let created = bed.create(&config_without_devices("web")).unwrap();
    end(&bed, created.domid, ShutdownReason::Suspend);
    let handle = created.record.handle;
    let expected = EndedDomain { domid: created.domid, handle, state: GuestState::Suspended };
    assert_eq!(DomainScan::new(&bed.host).unwrap().ended(), [expected]);
    assert!(ended_guest(&bed.host, created.domid).unwrap().is_none());
}

#[test]
fn a_scan_knows_the_stage_of_each_domain() {
    let bed = Bed::new();
    let handles = ["a", "b", "c", "d"].map(|name| {
        let created = bed.create(&config_without_devices(name)).unwrap();
        (created.domid, created.record.handle)
    });
    end(&bed, handles[1].0, ShutdownReason::Crash);
    end(&bed, handles[2].0, ShutdownReason::Poweroff);
    for domid in [handles[2].0, handles[3].0] {
        bed.xen().change(domid, |info| info.state.dying = true);
    }
    let scan = DomainScan::new(&bed.host).unwrap();
    let expected =
        EndedDomain { domid: handles[1].0, handle: handles[1].1, state: GuestState::Crashed };
    assert_eq!(scan.ended(), [expected]);
    let stages: Vec<_> = scan.stages().collect();
    let expected = [DomainStage::Alive, DomainStage::Ended, DomainStage::Dying, DomainStage::Dying];
    let identity = |(domid, handle): &_| DomainIdentity { domid: *domid, handle: *handle };
    let expected: Vec<_> = handles.iter().map(identity).zip(expected).collect();
    assert_eq!(stages, expected);
}

#[test]
fn the_guest_of_a_request_is_found_by_its_number() {
    let bed = Bed::new();
    let options = CreateOptions { owner: 7, request: Some([1; 16]), ..CreateOptions::default() };
    let created = bed.create_with(&config_without_devices("web"), options).unwrap();
    assert_eq!((created.record.owner, created.record.request), (7, Some([1; 16])));
    assert_eq!(of_request(&bed.host, "web", [1; 16]).unwrap(), Some(created.record));
    assert_eq!(of_request(&bed.host, "web", [2; 16]).unwrap(), None, "another request's");
    assert_eq!(of_request(&bed.host, "none", [1; 16]).unwrap(), None);
    let error = bed.create_with(&config_without_devices("web"), options).unwrap_err();
    assert!(error.is_name_in_use(), "{error:?}");
}

#[test]
fn a_guest_that_is_being_destroyed_does_not_count() {
    let bed = Bed::new();
    let created = bed.create(&config_without_devices("a")).unwrap();
    assert_eq!(handles(&bed.host).unwrap().len(), 1);
    // Xen frees the last pages of a destroyed domain a little later.
    bed.xen().change(created.domid, |info| info.state.dying = true);
    assert!(handles(&bed.host).unwrap().is_empty());
}

#[test]
fn only_the_domains_that_have_changed_are_looked_at_if_xen_names_them() {
    let bed = Bed::new();
    let domids: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| bed.create(&config_without_devices(name)).unwrap().domid)
        .collect();
    for domid in &domids[..2] {
        end(&bed, *domid, ShutdownReason::Poweroff);
    }
    assert!(DomainScan::of_changed(&bed.host).unwrap().is_none(), "an old Xen");
    let gone = DomId(99);
    bed.xen().say_changed(&[domids[1], domids[2], gone]);
    let (changed, scan) = DomainScan::of_changed(&bed.host).unwrap().unwrap();
    assert_eq!(changed, [domids[1], domids[2], gone]);
    let ended: Vec<_> = scan.ended().iter().map(|one| one.domid).collect();
    assert_eq!(ended, [domids[1]], "what has ended before is not named again");
    let (changed, scan) = DomainScan::of_changed(&bed.host).unwrap().unwrap();
    assert!(changed.is_empty() && scan.ended().is_empty());
}

#[test]
fn a_guest_that_is_kept_for_its_successor_gives_up_its_uuid() {
    let bed = Bed::new();
    let uuid = DomainHandle([7; 16]);
    let extras = Extras { uuid: Some(uuid), ..Extras::default() };
    let config = DomainConfig { extras: Some(Box::new(extras)), ..config_without_devices("web") };
    let created = bed.create(&config).unwrap();
    end(&bed, created.domid, ShutdownReason::Reboot);
    let ended = ended_guest(&bed.host, created.domid).unwrap().unwrap();
    assert_eq!(rename_ended(&bed.host, &ended).unwrap().name, "web-1");
    drop(ended);
    let kept = ended_guest(&bed.host, created.domid).unwrap().unwrap();
    assert_eq!((kept.record.name(), kept.handle()), ("web-1", kept.record.handle));
    assert_ne!(kept.handle(), uuid);
    let successor = bed.create(&config).unwrap();
    assert_eq!(successor.record.handle, uuid);
}
