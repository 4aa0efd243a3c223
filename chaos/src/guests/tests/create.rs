// SPDX-License-Identifier: GPL-3.0-or-later
use nix::errno::Errno;
use noxs_control::Refusal;
use xen::units::{DomId, DomainHandle};

use super::noxsd::Behaviour;
use super::{Bed, add_disk, cause, config, config_without_devices};
use crate::clients::noxsd::BackendError;
use crate::config::{DomainConfig, Extras};
use crate::guests::{
    Condition, CreateOptions, LifecycleError, ShellKind, create_from, destroy, execute_shell,
    prepare_shell, receive_disks, resolve, shell_kind,
};
use crate::handle;
use crate::hypervisor::Hypervisor;
use crate::hypervisor::fake::abandoned_handle;
use crate::records::RecordError;
use crate::timings::Timings;

#[test]
fn a_guest_is_complete_when_it_runs() {
    let (bed, _noxsd) = Bed::with_noxsd();
    let created = bed.create(&config("a")).unwrap();
    let guest = resolve(&bed.host, "a").unwrap();
    assert_eq!(guest.condition, Condition::Guest(Box::new(created.record.clone())));
    assert!(created.record.device_page.is_some());
    assert!(
        created.record.config.vifs[0].mac.is_some(),
        "the MAC address that the config leaves open is decided"
    );
    let done = bed.done();
    let at =
        |what: &str| done.iter().position(|one| one == what).unwrap_or_else(|| panic!("{what}"));
    assert!(at("noxsd: attach") < at("xen: unpause 1"), "{done:?}");
}

#[test]
fn a_paused_guest_is_recorded_as_one() {
    let (bed, _noxsd) = Bed::with_noxsd();
    let options = CreateOptions { paused: true, ..CreateOptions::default() };
    bed.create_with(&config("a"), options).unwrap();
    let guest = resolve(&bed.host, "a").unwrap();
    assert!(matches!(guest.condition, Condition::Guest(record) if record.paused));
    assert!(!bed.done().contains(&"xen: unpause 1".to_owned()));
}

#[test]
fn a_create_that_fails_at_any_step_leaves_nothing() {
    for step in ["prepare", "load", "execute", "unpause"] {
        let (bed, _noxsd) = Bed::with_noxsd();
        bed.xen().fail(step, Errno::EIO);
        let error = bed.create(&config("a")).unwrap_err();
        assert!(
            matches!(error, LifecycleError::Guest { ref name, .. } if name == "a"),
            "{error:?}"
        );
        bed.assert_empty(&format!("after {step} has failed"));
    }
}

const UUID: DomainHandle = DomainHandle([7; 16]);

/// Returns a config with `uuid=`.
fn with_uuid(name: &str) -> DomainConfig {
    let extras = Extras { uuid: Some(UUID), ..Extras::default() };
    DomainConfig { extras: Some(Box::new(extras)), ..config(name) }
}

#[test]
fn a_guest_has_the_uuid_of_its_config() {
    let (bed, _noxsd) = Bed::with_noxsd();
    let created = bed.create(&with_uuid("a")).unwrap();
    assert_eq!(created.record.handle, UUID);
    let info = bed.xen().domain_info(created.domid).unwrap().unwrap();
    assert_eq!(info.handle, UUID);
    let guest = resolve(&bed.host, "a").unwrap();
    assert!(matches!(guest.condition, Condition::Guest(_)), "{:?}", guest.condition);
    let refused = cause(bed.create(&with_uuid("b")).unwrap_err());
    assert!(matches!(refused, LifecycleError::UuidInUse { .. }), "{refused:?}");
    assert_eq!(bed.xen().domids(), [1]);
    destroy(&bed.host, "a").unwrap();
    bed.assert_empty("after destroy");
}

#[test]
fn a_create_with_extras_that_fails_leaves_nothing() {
    for step in ["set_handle", "tune", "execute"] {
        let (bed, _noxsd) = Bed::with_noxsd();
        bed.xen().fail(step, Errno::EIO);
        bed.create(&with_uuid("a")).unwrap_err();
        bed.assert_empty(&format!("after {step} has failed"));
    }
}

#[test]
fn a_domain_with_a_uuid_whose_creator_is_gone_is_incomplete() {
    let bed = Bed::new();
    bed.leave_incomplete(DomId(1), UUID, "a");
    let condition = || resolve(&bed.host, "a").map(|guest| guest.condition);
    assert_eq!(condition().unwrap(), Condition::Gone, "a domain of another toolstack");
    let records = &bed.host.records;
    records.note_creator(DomId(1), DomainHandle([8; 16]), abandoned_handle()).unwrap();
    assert_eq!(condition().unwrap(), Condition::Gone, "a note about another domain");
    records.note_creator(DomId(1), UUID, handle::new_handle().unwrap()).unwrap();
    assert_eq!(condition().unwrap(), Condition::Creating);
    records.note_creator(DomId(1), UUID, abandoned_handle()).unwrap();
    assert_eq!(condition().unwrap(), Condition::Incomplete);
    destroy(&bed.host, "a").unwrap();
    bed.assert_empty("after destroy");
}

#[test]
fn devices_that_are_refused_leave_nothing() {
    for behaviour in [
        Behaviour::Refuses("attach", Refusal::NoDevice),
        Behaviour::Refuses("attach", Refusal::NoSwitch("nowhere0".into())),
    ] {
        let (bed, noxsd) = Bed::with_noxsd();
        noxsd.behave(behaviour.clone());
        bed.create(&config("a")).unwrap_err();
        bed.assert_empty(&format!("after {behaviour:?}"));
    }
}

#[test]
fn noxsd_does_not_choose_the_bridge_of_a_tap() {
    let (bed, noxsd) = Bed::with_noxsd();
    noxsd.behave(Behaviour::Refuses("attach", Refusal::NoSwitch("management0".into())));
    let error = cause(bed.create(&config("a")).unwrap_err());
    assert!(
        matches!(error, LifecycleError::Backend(BackendError::Unexpected(_))),
        "no bridge is looked for: {error:?}"
    );
}

#[test]
fn devices_are_in_their_file_before_noxsd_is_asked_to_attach_them() {
    let (bed, noxsd) = Bed::with_noxsd();
    noxsd.behave(Behaviour::Dies("attach"));
    let domid = bed.create(&config("a")).unwrap().domid;
    assert!(bed.host.records.folder(domid).join(noxs_control::RECORD_FILE).exists());
}

#[test]
fn without_noxsd_only_a_guest_without_devices_is_created() {
    let bed = Bed::new();
    let error = cause(bed.create(&config("a")).unwrap_err());
    assert!(matches!(error, LifecycleError::Backend { .. }), "{error:?}");
    bed.assert_empty("after a create without noxsd");
    bed.create(&config_without_devices("a")).unwrap();
}

#[test]
fn a_name_in_use_is_refused_and_its_guest_stays() {
    let bed = Bed::new();
    bed.create(&config_without_devices("a")).unwrap();
    let error = cause(bed.create(&config_without_devices("a")).unwrap_err());
    let in_use = RecordError::NameInUse { name: "a".into(), domid: DomId(1) };
    assert_eq!(error.to_string(), in_use.to_string());
    assert_eq!(bed.xen().domids(), [1]);
    assert!(matches!(resolve(&bed.host, "a").unwrap().condition, Condition::Guest(_)));
}

#[test]
fn a_name_of_a_create_in_progress_is_refused() {
    let bed = Bed::new();
    bed.leave_incomplete(DomId(1), handle::new_handle().unwrap(), "a");
    let error = cause(bed.create(&config_without_devices("a")).unwrap_err());
    assert!(matches!(error, LifecycleError::Record(RecordError::NameInUse { .. })), "{error:?}");
    assert_eq!(bed.xen().domids(), [1]);
}

#[test]
fn the_name_of_an_incomplete_guest_is_free_for_a_new_one() {
    let (bed, _noxsd) = Bed::with_noxsd();
    bed.leave_incomplete(DomId(1), abandoned_handle(), "a");
    let created = bed.create(&config("a")).unwrap();
    assert_eq!(bed.xen().domids(), [created.domid.0]);
    assert_eq!(bed.host.records.domids().unwrap(), [created.domid]);
    assert!(bed.done().contains(&"xen: destroy 1".to_owned()));
}

#[test]
fn the_name_of_a_guest_that_is_gone_or_whose_domid_was_reused_is_free_for_a_new_one() {
    for reused in [false, true] {
        let bed = Bed::new();
        let first = bed.create(&config_without_devices("a")).unwrap();
        bed.xen().remove(first.domid);
        if reused {
            bed.xen().add(first.domid, xen::units::DomainHandle([7; 16]));
        }
        // The second guest gets the number of the first, if it is free.
        let second = bed.create(&config_without_devices("a")).unwrap();
        assert_eq!(second.domid == first.domid, !reused);
        assert_eq!(bed.host.records.holder("a").unwrap(), Some(second.domid));
    }
}

fn kind() -> ShellKind {
    shell_kind(&config("any"))
}

#[test]
fn a_shell_becomes_a_guest_and_noxsd_is_configured() {
    let (bed, _noxsd) = Bed::with_noxsd();
    let shell = prepare_shell(&bed.host, &kind(), &mut Timings::start()).unwrap();
    let shell = shell.park().unpark(&bed.host);
    let config = config("a");
    let request = bed.request(&config);
    let created = execute_shell(&bed.host, shell, &request, &mut Timings::start()).unwrap();
    assert!(bed.done().contains(&"noxsd: configure".to_owned()));
    assert_eq!(bed.host.records.read(created.domid).unwrap(), Some(created.record));
}

#[test]
fn disks_that_are_open_already_are_not_opened_again() {
    let (bed, _noxsd) = Bed::with_noxsd();
    let path = bed.folder.path().join("disk");
    std::fs::write(&path, [0; 4096]).unwrap();
    let mut config = config("a");
    add_disk(&mut config, &path);
    let file = disk::open_file(&path, false).unwrap();
    std::fs::remove_file(&path).unwrap();
    let disks = receive_disks(&config, vec![file]).unwrap();
    let kind = shell_kind(&config);
    for from_pool in [true, false] {
        let shell = prepare_shell(&bed.host, &kind, &mut Timings::start()).unwrap();
        let request = super::GuestRequest { disks: Some(&disks), ..bed.request(&config) };
        let created = match from_pool {
            true => execute_shell(&bed.host, shell, &request, &mut Timings::start()).unwrap(),
            false => create_from(&bed.host, &request, &mut Timings::start()).unwrap(),
        };
        let devices = bed.host.records.devices(created.domid).unwrap().unwrap();
        assert_eq!(devices.vbds[0].image.as_ref(), disks.images().first());
        destroy(&bed.host, "a").unwrap();
    }
    // Without them, the path is opened.
    let missing = cause(bed.create(&config).unwrap_err());
    assert!(matches!(missing, LifecycleError::DiskImage(_)), "{missing:?}");
    // The error is that of a create that has opened the disk.
    let folder = std::fs::File::open(bed.folder.path()).unwrap();
    let error = receive_disks(&config, vec![folder]).unwrap_err();
    assert!(matches!(cause(error), LifecycleError::DiskImage(disk::DiskError::Access { .. })));
}

#[test]
fn a_shell_that_is_dropped_leaves_nothing() {
    let (bed, _noxsd) = Bed::with_noxsd();
    drop(prepare_shell(&bed.host, &kind(), &mut Timings::start()).unwrap());
    bed.assert_empty("after the shell was dropped");
    assert!(bed.done().contains(&"noxsd: detach".to_owned()));
}

#[test]
fn a_running_guest_that_noxsd_does_not_configure_is_destroyed() {
    let (bed, noxsd) = Bed::with_noxsd();
    let shell = prepare_shell(&bed.host, &kind(), &mut Timings::start()).unwrap();
    noxsd.behave(Behaviour::Refuses("configure", Refusal::NoDevice));
    let config = config("a");
    let request = bed.request(&config);
    execute_shell(&bed.host, shell, &request, &mut Timings::start()).unwrap_err();
    bed.assert_empty("after configure was refused");
    let done = bed.done();
    assert!(done.contains(&"xen: unpause 1".to_owned()), "{done:?}");
    assert!(done.contains(&"xen: destroy 1".to_owned()), "{done:?}");
}
