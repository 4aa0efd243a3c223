// SPDX-License-Identifier: GPL-3.0-or-later
use nix::errno::Errno;
use noxs_control::{AddressInUse, AddressOwner, Refusal, VifAddress};
use xen::domain::ShutdownReason;
use xen::units::{DomId, DomainHandle};

use super::noxsd::Behaviour;
use super::{Bed, add_disk, config, config_without_devices};
use crate::guests::{Cleared, LifecycleError, clear, destroy, ended_guest, rename_ended};
use crate::handle;
use crate::hypervisor::fake::abandoned_handle;
use crate::records::Record;

#[test]
fn devices_are_detached_before_the_domain_is_destroyed() {
    let (bed, _noxsd) = Bed::with_noxsd();
    bed.create(&config("a")).unwrap();
    bed.done();
    let destroyed = destroy(&bed.host, "a").unwrap();
    assert_eq!((destroyed.domid, destroyed.name.as_deref()), (Some(1), Some("a")));
    assert_eq!((destroyed.was_gone, destroyed.warning), (false, None));
    assert_eq!(bed.done(), ["noxsd: detach", "xen: destroy 1"]);
    bed.assert_empty("after destroy");
}

#[test]
fn a_destroy_that_stops_at_any_step_can_be_repeated() {
    type Stop = fn(&Bed, DomId);
    // The state that is left if the process is killed at each step.
    let stops: [Stop; 5] = [
        |bed, _| bed.xen().fail("destroy", Errno::EIO),
        |bed, domid| bed.xen().remove(domid),
        |bed, domid| {
            bed.xen().remove(domid);
            bed.host.records.remove_name("a").unwrap();
        },
        |bed, domid| {
            bed.xen().remove(domid);
            bed.host.records.remove(domid, None).unwrap();
        },
        |bed, domid| bed.xen().change(domid, |info| info.state.dying = true),
    ];
    for (number, stop) in stops.into_iter().enumerate() {
        let (bed, _noxsd) = Bed::with_noxsd();
        let domid = bed.create(&config("a")).unwrap().domid;
        stop(&bed, domid);
        let first = destroy(&bed.host, "a");
        bed.xen().heal();
        if number == 0 {
            assert!(matches!(first, Err(LifecycleError::Xen(_))), "{first:?}");
            destroy(&bed.host, "a").unwrap();
        } else if number == 2 {
            assert!(matches!(first, Err(LifecycleError::NoSuchGuest { .. })), "{first:?}");
            assert!(destroy(&bed.host, &domid.0.to_string()).unwrap().was_gone);
        } else {
            first.unwrap();
        }
        bed.assert_empty(&format!("after stop {number}"));
    }
}

#[test]
fn a_domain_that_xen_has_removed_meanwhile_is_not_an_error() {
    let bed = Bed::new();
    bed.create(&config_without_devices("a")).unwrap();
    bed.xen().fail("destroy", Errno::ESRCH);
    destroy(&bed.host, "a").unwrap();
    assert_eq!(bed.host.records.domids().unwrap(), []);
}

#[test]
fn a_noxsd_that_does_not_detach_causes_only_a_warning() {
    for behaviour in [Behaviour::Dies("detach"), Behaviour::Refuses("detach", Refusal::ConsoleBusy)]
    {
        let (bed, noxsd) = Bed::with_noxsd();
        bed.create(&config("a")).unwrap();
        noxsd.behave(behaviour);
        let destroyed = destroy(&bed.host, "a").unwrap();
        assert!(destroyed.warning.unwrap().contains("noxsd may still hold"));
        bed.assert_empty("after destroy");
    }
}

#[test]
fn without_noxsd_there_is_nothing_to_detach() {
    let bed = Bed::new();
    bed.create(&config_without_devices("a")).unwrap();
    assert_eq!(destroy(&bed.host, "a").unwrap().warning, None);
}

#[test]
fn what_is_not_a_guest_is_not_destroyed() {
    let bed = Bed::new();
    bed.xen().add(DomId(1), DomainHandle([7; 16]));
    let foreign = destroy(&bed.host, "1");
    assert!(matches!(foreign, Err(LifecycleError::NotOurs { .. })), "{foreign:?}");
    bed.xen().add(DomId(2), handle::new_handle().unwrap());
    let creating = destroy(&bed.host, "2");
    assert!(matches!(creating, Err(LifecycleError::BeingCreated { .. })), "{creating:?}");
    for nothing in ["3", "x", "", "../x", "+1", "1 ", "-1"] {
        let missing = destroy(&bed.host, nothing);
        assert!(matches!(missing, Err(LifecycleError::NoSuchGuest { .. })), "{missing:?}");
    }
    assert_eq!(bed.xen().domids(), [1, 2]);
}

#[test]
fn destroy_drops_a_pending_restart_with_a_name_of_an_older_version() {
    let bed = Bed::new();
    let mut record = Record::new(DomId(3), DomainHandle([1; 16]), config_without_devices("a"));
    for name in ["a\u{fe0f}", "\u{ff15}", "+5"] {
        record.config.name = name.to_owned();
        bed.host.records.record_restart(&record).unwrap();
        assert!(destroy(&bed.host, name).unwrap().was_gone, "{name}");
    }
    assert_eq!(bed.host.records.restarts().unwrap(), Vec::<String>::new());
}

#[test]
fn destroy_drops_a_pending_restart_with_and_without_its_guest() {
    let bed = Bed::new();
    let record = bed.create(&config_without_devices("a")).unwrap().record;
    bed.host.records.record_restart(&record).unwrap();
    assert!(!destroy(&bed.host, "a").unwrap().was_gone);
    assert_eq!(bed.host.records.restarts().unwrap(), Vec::<String>::new());
    bed.host.records.record_restart(&record).unwrap();
    let done = destroy(&bed.host, "a").unwrap();
    assert_eq!((done.was_gone, done.domid), (true, Some(record.domid.0)));
    bed.host.records.record_restart(&record).unwrap();
    std::fs::write(bed.folder.path().join("records/restarts/a"), "damaged").unwrap();
    let done = destroy(&bed.host, "a").unwrap();
    assert_eq!((done.was_gone, done.domid), (true, None));
    bed.assert_empty("after destroy");
}

/// Clears what is left, of which nothing may fail.
fn cleared_all(bed: &Bed) -> Cleared {
    clear(&bed.host, |domid, error| panic!("{domid}: {error}")).unwrap()
}

#[test]
fn clear_removes_what_is_incomplete_or_gone_and_nothing_else() {
    let (bed, _noxsd) = Bed::with_noxsd();
    let guest = bed.create(&config("guest")).unwrap().domid;
    let gone = bed.create(&config("gone")).unwrap().domid;
    bed.xen().remove(gone);
    bed.leave_incomplete(DomId(7), abandoned_handle(), "incomplete");
    bed.leave_incomplete(DomId(8), handle::new_handle().unwrap(), "creating");
    bed.xen().add(DomId(9), DomainHandle([7; 16]));
    bed.host.records.reserve_name("stale", DomId(30), None).unwrap();
    let cleared = cleared_all(&bed);
    // Three leftovers: the name and the folder of the guest that is gone, and the stale name.
    assert_eq!(cleared, Cleared { incomplete: 1, leftovers: 3 });
    assert_eq!(bed.xen().domids(), [guest.0, 8, 9]);
    let mut names: Vec<_> =
        bed.host.records.names().unwrap().into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, ["creating", "guest"]);
    assert_eq!(cleared_all(&bed), Cleared::default());
}

#[test]
fn clear_goes_on_with_other_domains_where_xen_refuses_one() {
    let bed = Bed::new();
    bed.leave_incomplete(DomId(1), abandoned_handle(), "a");
    bed.host.records.reserve_name("stale", DomId(30), None).unwrap();
    bed.xen().fail("domain_list", Errno::EPERM);
    clear(&bed.host, |_, error| panic!("{error}")).unwrap_err();
    bed.xen().fail("destroy", Errno::EPERM);
    let mut reported = Vec::new();
    let cleared = clear(&bed.host, |domid, _| reported.push(domid)).unwrap();
    assert_eq!(cleared, Cleared { incomplete: 0, leftovers: 1 });
    assert_eq!(reported, [DomId(1)]);
    bed.xen().heal();
    assert_eq!(cleared_all(&bed).incomplete, 1);
    bed.assert_empty("after clear");
}

#[test]
fn a_guest_whose_disk_is_gone_does_not_keep_others_from_being_cleared() {
    let (bed, _noxsd) = Bed::with_noxsd();
    let disk = bed.folder.path().join("disk");
    std::fs::write(&disk, [0; 4096]).unwrap();
    let mut with_disk = config("a");
    add_disk(&mut with_disk, &disk);
    let created = bed.create(&with_disk).unwrap();
    let mut incomplete = bed.host.records.devices(created.domid).unwrap().unwrap();
    incomplete.vbds[0].image = None;
    bed.host.records.replace_devices(&incomplete).unwrap();
    std::fs::remove_file(&disk).unwrap();
    bed.leave_incomplete(DomId(7), abandoned_handle(), "killed");
    let mut reported = Vec::new();
    let cleared = clear(&bed.host, |domid, error| reported.push((domid, error.to_string())));
    assert_eq!(cleared.unwrap().incomplete, 1);
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert_eq!(reported[0].0, created.domid);
}

#[test]
fn a_guest_that_has_exited_is_renamed_and_loses_its_devices() {
    let (bed, noxsd) = Bed::with_noxsd();
    let domid = bed.create(&config("a")).unwrap().domid;
    assert!(ended_guest(&bed.host, domid).unwrap().is_none(), "it runs");
    bed.xen().change(domid, |info| info.state.shutdown = Some(ShutdownReason::Crash));
    let ended = ended_guest(&bed.host, domid).unwrap().unwrap();
    noxsd.behave(Behaviour::Dies("detach"));
    rename_ended(&bed.host, &ended).unwrap_err();
    assert_eq!(bed.host.records.holder("a").unwrap(), Some(domid), "nothing has changed");
    noxsd.behave(Behaviour::Obedient);
    assert_eq!(rename_ended(&bed.host, &ended).unwrap().name, "a-1");
    assert_eq!(bed.host.records.holder("a").unwrap(), None);
    assert_eq!(bed.host.records.read(domid).unwrap().unwrap().name(), "a-1");
}

#[test]
fn what_is_left_of_a_guest_whose_number_another_toolstack_uses_is_cleared() {
    let (bed, _noxsd) = Bed::with_noxsd();
    let domid = bed.create(&config("a")).unwrap().domid;
    bed.xen().remove(domid);
    bed.xen().add(domid, DomainHandle([9; 16]));
    assert_eq!(cleared_all(&bed), Cleared { incomplete: 0, leftovers: 2 });
    assert_eq!(bed.host.records.domids().unwrap(), []);
    assert_eq!(bed.host.records.names().unwrap(), []);
    assert_eq!(bed.xen().domids(), [domid.0], "the domain itself is not touched");
}

#[test]
fn clearing_completes_the_device_file_of_a_guest_whose_creator_was_killed() {
    let (bed, _noxsd) = Bed::with_noxsd();
    let created = bed.create(&config("a")).unwrap();
    let complete = bed.host.records.devices(created.domid).unwrap().unwrap();
    assert!(complete.vifs[0].identity.is_some());
    let mut incomplete = complete.clone();
    incomplete.vifs[0].identity = None;
    bed.host.records.replace_devices(&incomplete).unwrap();
    bed.done();

    cleared_all(&bed);
    assert_eq!(bed.host.records.devices(created.domid).unwrap(), Some(complete));
    assert!(bed.done().iter().any(|done| done.contains("configure")), "noxsd gets them, too");
    cleared_all(&bed);
    assert!(!bed.done().iter().any(|done| done.contains("configure")), "once");
}

#[test]
fn clearing_removes_a_guest_whose_create_was_killed_after_its_address_was_refused() {
    let (bed, noxsd) = Bed::with_noxsd();
    let created = bed.create(&config("a")).unwrap();
    let mut incomplete = bed.host.records.devices(created.domid).unwrap().unwrap();
    let mac = incomplete.vifs[0].identity.take().unwrap().mac;
    bed.host.records.replace_devices(&incomplete).unwrap();
    let (address, owner) = (VifAddress::Mac(mac), AddressOwner::Domain(77));
    noxsd.behave(Behaviour::InUse(vec![AddressInUse { address, owner }]));

    assert_eq!(cleared_all(&bed), Cleared { incomplete: 1, leftovers: 0 });
    bed.assert_empty("after the refusal");
}
