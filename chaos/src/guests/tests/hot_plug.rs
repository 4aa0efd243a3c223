// SPDX-License-Identifier: GPL-3.0-or-later
//! Devices that running guests get and lose: what is left when a step fails.

use std::time::Duration;

use daemon::chain::chain;
use nix::errno::Errno;
use noxs::{MAX_DEVICES, MAX_VIFS};
use noxs_control::{
    AddressInUse, AddressOwner, DeviceCounters, DeviceNumber, DeviceStatus as DeviceState,
    DomainStatus, VifAddress, VifStatus,
};
use xen::domain::ShutdownReason;
use xen::units::DomId;

use super::noxsd::{Behaviour, FakeNoxsd};
use super::{Bed, cause, config, config_without_devices, parse};
use crate::config::{VifConfig, parse_disk_arguments, parse_vif_arguments};
use crate::failure::FailureClass;
use crate::guests::{
    AttachedVif, DetachOptions, DeviceStatus, HotPlugError, LifecycleError, attach_disk,
    attach_vif, destroy, detach_disk, detach_vif, ended_guest, list, list_disks, list_vifs, pause,
    remove_ended, unpause,
};
use crate::hypervisor::fake::Reaction;
use crate::records::{PendingDevice, Record};

/// The fake guest reacts at once when it is notified.
const AT_ONCE: Duration = Duration::ZERO;

const ASK: DetachOptions = DetachOptions { force: false, timeout: AT_ONCE };

fn vif(fields: &[&str]) -> VifConfig {
    let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
    parse_vif_arguments(&fields).unwrap()
}

/// Returns a host with a guest, `a`, that has a console and a vif and accepts.
fn bed() -> (Bed, FakeNoxsd, DomId) {
    let (bed, noxsd) = Bed::with_noxsd();
    let domid = bed.create(&config("a")).unwrap().domid;
    bed.xen().react(Reaction::Accepts);
    bed.done();
    (bed, noxsd, domid)
}

fn attach(bed: &Bed) -> Result<AttachedVif, LifecycleError> {
    attach_vif(&bed.host, "a", vif(&["bridge=b", "ip=10.0.0.9"]), AT_ONCE)
}

/// Returns the record without what each request changes.
fn record(bed: &Bed, domid: DomId) -> Record {
    let mut record = bed.host.records.read(domid).unwrap().unwrap();
    record.device_page.as_mut().unwrap().requests = 0;
    record
}

/// Returns the numbers of the vifs and of the disks in the device file.
fn in_file(bed: &Bed, domid: DomId) -> (Vec<u16>, Vec<u16>) {
    let Some(file) = bed.host.records.devices(domid).unwrap() else { return Default::default() };
    let vifs = file.vifs.iter().map(|vif| vif.index).collect();
    (vifs, file.vbds.iter().map(|vbd| vbd.index).collect())
}

#[test]
fn a_vif_that_the_guest_takes_is_recorded_everywhere_and_can_be_removed() {
    let (bed, _noxsd, domid) = bed();
    let before = record(&bed, domid);
    let attached = attach(&bed).unwrap();
    assert_eq!((attached.devid, attached.mac.as_str()), (1, "00:16:3e:00:00:09"));
    assert_eq!(in_file(&bed, domid), (vec![0, 1], vec![]));
    // The console has ring 0 and the first vif rings 1 and 2.
    assert_eq!(bed.xen().granted(domid), [11, 12]);
    let vifs = list_vifs(&bed.host, "a").unwrap();
    assert_eq!((vifs[1].devid, vifs[1].tx_ring, vifs[1].rx_ring), (1, 11, 12));
    assert_eq!(vifs[1].ipv4.as_deref(), Some("10.0.0.9/24"));
    assert_eq!(list(&bed.host, false).unwrap().guests[0].vifs.len(), 2);
    assert!(bed.done().contains(&"noxsd: attach_devices".to_owned()));

    for which in ["1", "00:16:3e:00:00:09"] {
        detach_vif(&bed.host, "a", which, ASK).unwrap();
        assert!(bed.done().contains(&"noxsd: detach_device".to_owned()));
        assert_eq!(in_file(&bed, domid), (vec![0], vec![]));
        assert_eq!(bed.xen().granted(domid), [0u32; 0]);
        let again = cause(detach_vif(&bed.host, "a", which, ASK).unwrap_err());
        assert!(
            matches!(again, LifecycleError::HotPlug(HotPlugError::NoSuchDevice { .. })),
            "{again:?}"
        );
        assert_eq!(record(&bed, domid), before);
        // Its number and its rings are used again.
        assert_eq!(attach(&bed).unwrap().devid, 1);
        assert_eq!(bed.xen().granted(domid), [11, 12]);
    }
}

#[test]
fn the_first_vif_can_be_removed_and_numbers_stay() {
    let (bed, _noxsd, domid) = bed();
    attach(&bed).unwrap();
    detach_vif(&bed.host, "a", "0", ASK).unwrap();
    assert_eq!(in_file(&bed, domid), (vec![1], vec![]));
    let vifs = list_vifs(&bed.host, "a").unwrap();
    assert_eq!((vifs.len(), vifs[0].devid, vifs[0].tx_ring), (1, 1, 11));
    assert_eq!(attach_vif(&bed.host, "a", vif(&["bridge=b"]), AT_ONCE).unwrap().devid, 0);
}

#[test]
fn a_disk_is_added_and_removed_by_its_name() {
    let (bed, _noxsd, domid) = bed();
    let image = bed.folder.path().join("disk.img");
    std::fs::write(&image, vec![0; 1 << 20]).unwrap();
    let disk = |name: &str| {
        parse_disk_arguments(&[image.display().to_string(), "raw".into(), name.into()]).unwrap()
    };
    // The fake noxsd has no files of its own to lift a limit for.
    let read_only = |name: &str| crate::config::DiskConfig { read_only: true, ..disk(name) };
    attach_disk(&bed.host, "a", read_only("xvdb"), AT_ONCE).unwrap();
    assert_eq!(in_file(&bed, domid), (vec![0], vec![0]));
    assert_eq!(bed.xen().granted(domid), [11]);
    let disks = list_disks(&bed.host, "a").unwrap();
    assert_eq!((disks[0].vdev.as_str(), disks[0].vdev_number, disks[0].ring), ("xvdb", 51728, 11));
    let twice = cause(attach_disk(&bed.host, "a", read_only("xvdb"), AT_ONCE).unwrap_err());
    assert!(matches!(twice, LifecycleError::HotPlug(HotPlugError::DiskTwice { .. })), "{twice:?}");
    // The file is in use by the guest itself.
    let held = cause(attach_disk(&bed.host, "a", disk("xvdc"), AT_ONCE).unwrap_err());
    assert!(
        matches!(&held, LifecycleError::HotPlug(HotPlugError::DiskHeld { vdev, .. }) if vdev == "xvdb"),
        "{held:?}"
    );
    for (name, left) in [("xvdc", 1), ("51728", 0)] {
        let removed = detach_disk(&bed.host, "a", name, ASK);
        assert_eq!(removed.is_ok(), left == 0, "{name}");
        assert_eq!(list_disks(&bed.host, "a").unwrap().len(), left);
    }
    assert_eq!(bed.xen().granted(domid), [0u32; 0]);
    assert_eq!(in_file(&bed, domid), (vec![0], vec![]));
}

#[test]
fn nothing_is_left_of_a_device_that_the_guest_does_not_take() {
    for (reaction, class, word) in [
        (Reaction::Silent, FailureClass::TimedOut, "has not taken vif1 within 0 s"),
        (Reaction::Refuses, FailureClass::Failed, "does not support that its vif1 is added"),
        (Reaction::EndsFirst, FailureClass::Failed, "has powered off"),
    ] {
        let (bed, _noxsd, domid) = bed();
        let before = record(&bed, domid);
        bed.xen().react(reaction);
        let refused = attach(&bed).unwrap_err();
        assert_eq!(refused.class(), class);
        let text = chain(&refused);
        assert!(
            text.starts_with("cannot attach a vif to guest a: guest a ") && text.contains(word),
            "{text}"
        );
        assert!(bed.done().contains(&"noxsd: detach_device".to_owned()), "{text}");
        assert_eq!(record(&bed, domid), before, "{text}");
        assert_eq!(in_file(&bed, domid), (vec![0], vec![]), "{text}");
        assert_eq!(bed.xen().granted(domid), [0u32; 0], "{text}");
    }
}

#[test]
fn nothing_is_left_when_a_step_fails() {
    for call in ["provide_page", "grant", "map_page", "open_events", "bind", "notify"] {
        let (bed, _noxsd, domid) = bed();
        let before = record(&bed, domid);
        bed.xen().fail(call, Errno::EPERM);
        attach(&bed).unwrap_err();
        bed.xen().heal();
        // What could not be withdrawn either is withdrawn by the next command.
        list_vifs(&bed.host, "a").unwrap();
        assert_eq!(record(&bed, domid), before, "{call}");
        assert_eq!(in_file(&bed, domid), (vec![0], vec![]), "{call}");
        assert_eq!(bed.xen().granted(domid), [0u32; 0], "{call}");
        attach(&bed).unwrap();
    }
}

/// A guest closes the port by which it learns of its devices, or returns the pages.
#[test]
fn a_guest_that_cannot_be_notified_keeps_no_device() {
    for call in ["map_page", "open_events", "bind", "notify"] {
        for attached in [false, true] {
            let (bed, _noxsd, domid) = bed();
            let before = record(&bed, domid);
            if attached {
                attach(&bed).unwrap();
                bed.xen().fail(call, Errno::EPERM);
                let force = DetachOptions { force: true, ..ASK };
                detach_vif(&bed.host, "a", "1", force).unwrap_err();
            } else {
                bed.xen().fail(call, Errno::EPERM);
                attach(&bed).unwrap_err();
            }
            assert!(bed.done().contains(&"noxsd: detach_device".to_owned()), "{call}");
            assert_eq!(record(&bed, domid), before, "{call}");
            assert_eq!(in_file(&bed, domid), (vec![0], vec![]), "{call}");
            assert_eq!(bed.xen().granted(domid), [0u32; 0], "{call}");
        }
    }
}

#[test]
fn an_address_in_use_names_the_vif_and_its_owner() {
    let (bed, noxsd, domid) = bed();
    let address = VifAddress::Ipv4([10, 0, 0, 9].into());
    let owner = AddressOwner::Domain(domid.0);
    noxsd.behave(Behaviour::InUse(vec![AddressInUse { address, owner }]));
    let text = chain(&attach(&bed).unwrap_err());
    assert!(
        text.contains("IPv4 address 10.0.0.9 of vif1 is in use on bridge b by guest a"),
        "{text}"
    );
    assert_eq!(in_file(&bed, domid), (vec![0], vec![]));
    noxsd.behave(Behaviour::Dies("attach_devices"));
    attach(&bed).unwrap_err();
    noxsd.behave(Behaviour::Obedient);
    attach(&bed).unwrap();
}

#[test]
fn a_device_that_the_guest_does_not_let_go_of_stays_unless_it_is_forced() {
    let (bed, _noxsd, domid) = bed();
    let before = record(&bed, domid);
    bed.xen().react(Reaction::Refuses);
    let refused = cause(detach_vif(&bed.host, "a", "0", ASK).unwrap_err());
    assert!(matches!(
        refused,
        LifecycleError::HotPlug(HotPlugError::Unsupported { can_force: true, .. })
    ));
    assert_eq!(record(&bed, domid), before);
    bed.xen().react(Reaction::Silent);
    let late = cause(detach_vif(&bed.host, "a", "0", ASK).unwrap_err());
    assert_eq!(late.class(), FailureClass::TimedOut);
    assert!(late.to_string().contains("has not stopped using vif0"), "{late}");
    assert_eq!(list_vifs(&bed.host, "a").unwrap()[0].state, DeviceStatus::Closing);
    assert!(!bed.done().contains(&"noxsd: detach_device".to_owned()));
    detach_vif(&bed.host, "a", "0", DetachOptions { force: true, ..ASK }).unwrap();
    assert_eq!(list_vifs(&bed.host, "a").unwrap().len(), 0);
    assert_eq!(in_file(&bed, domid), (vec![], vec![]));
}

#[test]
fn a_device_that_noxsd_does_not_serve_any_more_is_removed_without_asking_the_guest() {
    let (bed, noxsd, domid) = bed();
    attach(&bed).unwrap();
    let id = bed.host.records.devices(domid).unwrap().unwrap().id;
    let lost = |number: u16| {
        let (name, counters) = (format!("vif{number}"), DeviceCounters::Vif(VifStatus::default()));
        let devices = vec![DeviceState { name, broken: Some("as a test".into()), counters }];
        noxsd.behave(Behaviour::Reports(vec![DomainStatus { id, devices }]));
    };
    bed.xen().react(Reaction::Silent);
    lost(0);
    let late = cause(detach_vif(&bed.host, "a", "1", ASK).unwrap_err());
    assert_eq!(late.class(), FailureClass::TimedOut, "the other one is lost");
    lost(1);
    bed.done();
    detach_vif(&bed.host, "a", "1", ASK).unwrap();
    let done = bed.done();
    let at = |what: &str| done.iter().position(|done| done == what);
    let (detached, notified) = (at("noxsd: detach_device"), at("xen: notify 1"));
    assert!(detached.is_some() && detached < notified, "noxsd first: {done:?}");
    assert_eq!(in_file(&bed, domid), (vec![0], vec![]));
}

#[test]
fn a_guest_is_removed_only_once_no_command_changes_its_devices() {
    let (bed, _noxsd, domid) = bed();
    let lock = bed.host.records.try_lock_devices(domid).unwrap();
    let log = std::sync::Arc::clone(&bed.log);
    let destroyed = "xen: destroy 1".to_owned();
    // A command that waits for its guest notices that the guest is gone.
    let command = std::thread::spawn(move || {
        while !log.lock().unwrap().contains(&destroyed) {
            std::thread::yield_now();
        }
        log.lock().unwrap().push("the command ends".into());
        drop(lock);
    });
    destroy(&bed.host, "a").unwrap();
    command.join().unwrap();
    assert_eq!(bed.done(), ["xen: destroy 1", "the command ends", "noxsd: detach"]);
    bed.assert_empty("after destroy");
    assert_eq!(attach(&bed).unwrap_err().class(), FailureClass::NoSuchGuest);
}

#[test]
fn a_guest_that_ends_is_handled_with_the_devices_that_it_had_last() {
    let (bed, _noxsd, domid) = bed();
    let found = bed.host.records.read(domid).unwrap().unwrap();
    let lock = bed.host.records.try_lock_devices(domid).unwrap();
    bed.xen().change(domid, |info| info.state.shutdown = Some(ShutdownReason::Reboot));
    let locked = ended_guest(&bed.host, domid).unwrap_err();
    assert!(locked.is_locked(), "{locked:?}");
    // The guest has taken the device, and the command records that.
    let mut last = found.clone();
    last.config.vifs.push(vif(&["bridge=b", "ip=10.0.0.9"]));
    bed.host.records.replace(&last).unwrap();
    drop(lock);
    let ended = ended_guest(&bed.host, domid).unwrap().unwrap();
    assert_eq!(ended.record, last);
    assert!(bed.host.records.try_lock_devices(domid).is_err(), "no command begins now");
    remove_ended(&bed.host, &ended).unwrap();
    bed.assert_empty("after it was removed");
}

#[test]
fn what_a_killed_command_has_left_is_withdrawn_by_the_next() {
    let leave = |bed: &Bed, domid| {
        attach(bed).unwrap();
        let mut record = bed.host.records.read(domid).unwrap().unwrap();
        record.config.vifs.pop();
        let devices = record.device_page.as_mut().unwrap().devices.as_mut().unwrap();
        let rings = devices.vifs.pop().unwrap().rings;
        devices.pending = Some(PendingDevice { device: DeviceNumber::Vif(1), rings });
        bed.host.records.replace(&record).unwrap();
        bed.done();
    };
    let next: [fn(&Bed); 3] = [
        |bed| drop(list(&bed.host, false).unwrap()),
        |bed| drop(list_disks(&bed.host, "a").unwrap()),
        |bed| {
            detach_vif(&bed.host, "a", "7", ASK)
                .unwrap_err()
                .class()
                .eq(&FailureClass::WrongInput)
                .then_some(())
                .unwrap()
        },
    ];
    for command in next {
        let (bed, _noxsd, domid) = bed();
        let before = record(&bed, domid);
        leave(&bed, domid);
        let lock = bed.host.records.lock(domid).unwrap();
        list(&bed.host, false).unwrap();
        assert!(!bed.done().contains(&"noxsd: detach_device".to_owned()), "it is being added");
        drop(lock);
        command(&bed);
        assert!(bed.done().contains(&"noxsd: detach_device".to_owned()));
        assert_eq!(record(&bed, domid), before);
        assert_eq!(in_file(&bed, domid), (vec![0], vec![]));
        assert_eq!(bed.xen().granted(domid), [0u32; 0]);
    }
}

#[test]
fn the_limits_of_a_guest_hold() {
    let (bed, _noxsd, domid) = bed();
    for _ in 1..MAX_VIFS {
        attach_vif(&bed.host, "a", vif(&["bridge=b"]), AT_ONCE).unwrap();
    }
    let ninth = cause(attach_vif(&bed.host, "a", vif(&["bridge=b"]), AT_ONCE).unwrap_err());
    assert!(
        matches!(ninth, LifecycleError::HotPlug(HotPlugError::TooManyVifs { .. })),
        "{ninth:?}"
    );
    let image = bed.folder.path().join("disk.img");
    std::fs::write(&image, vec![0; 4096]).unwrap();
    let add = |number: usize| {
        let fields = [format!("vdev=xvda{number}"), format!("access=r,target={}", image.display())];
        attach_disk(&bed.host, "a", parse_disk_arguments(&fields).unwrap(), AT_ONCE)
    };
    for number in 1..MAX_DEVICES - MAX_VIFS {
        add(number).unwrap();
    }
    let last = cause(add(40).unwrap_err());
    assert!(
        matches!(last, LifecycleError::HotPlug(HotPlugError::NoRoomForDevice { .. })),
        "{last:?}"
    );
    assert_eq!(in_file(&bed, domid).1.len(), MAX_DEVICES - MAX_VIFS - 1);
}

#[test]
fn a_guest_whose_devices_cannot_change_is_refused_with_the_reason() {
    let (bed, _noxsd, domid) = bed();
    pause(&bed.host, "a").unwrap();
    let paused = chain(&attach(&bed).unwrap_err());
    assert!(paused.contains("chaos unpause a"), "{paused}");
    unpause(&bed.host, "a").unwrap();
    let change = |change: &dyn Fn(&mut Record)| {
        let mut record = bed.host.records.read(domid).unwrap().unwrap();
        change(&mut record);
        bed.host.records.replace(&record).unwrap();
        attach(&bed).unwrap_err()
    };
    let member = change(&|record| record.owner = 1000);
    assert!(
        matches!(member, LifecycleError::HotPlug(HotPlugError::OfMember { owner: 1000, .. })),
        "{member:?}"
    );
    let old = change(&|record| {
        record.owner = 0;
        record.device_page.as_mut().unwrap().devices = None;
    });
    assert!(matches!(old, LifecycleError::HotPlug(HotPlugError::OfOldGuest { .. })), "{old:?}");
    assert_eq!(list_vifs(&bed.host, "a").unwrap()[0].event_channel, Some(2));
    let in_xenstore = change(&|record| record.config.store = crate::config::Store::XenStore);
    assert!(
        in_xenstore.to_string().contains("which chaos network-attach does not support"),
        "{in_xenstore}"
    );
    bed.xen().change(domid, |info| info.state.shutdown = Some(ShutdownReason::Crash));
    let ended = change(&|record| record.config.store = crate::config::Store::Noxs);
    assert!(matches!(ended, LifecycleError::HotPlug(HotPlugError::NotRunning { .. })), "{ended:?}");
    let missing = attach_vif(&bed.host, "b", vif(&[]), AT_ONCE).unwrap_err();
    assert_eq!(missing.class(), FailureClass::NoSuchGuest);
}

#[test]
fn a_guest_without_devices_gets_its_first() {
    let (bed, _noxsd) = Bed::with_noxsd();
    let domid = bed.create(&config_without_devices("a")).unwrap().domid;
    bed.xen().react(Reaction::Accepts);
    attach(&bed).unwrap();
    assert_eq!(in_file(&bed, domid), (vec![0], vec![]));
    assert_eq!(bed.xen().granted(domid), [8, 9]);
    detach_vif(&bed.host, "a", "0", ASK).unwrap();
    assert_eq!(bed.host.records.devices(domid).unwrap(), None);
}

#[test]
fn arguments_are_those_of_a_config() {
    let fields = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    let written =
        "name='a'\ntype='pvh'\nkernel='/k'\nvif=['bridge=b,mac=00:16:3e:00:00:01,rate=1MB/s']";
    let given = parse_vif_arguments(&fields("bridge=b mac=00:16:3e:00:00:01,rate=1MB/s")).unwrap();
    assert_eq!(given, parse(written).vifs[0]);
    assert_eq!(parse_vif_arguments(&[]).unwrap(), VifConfig::default());
    let disk = parse_disk_arguments(&fields("/a.img raw xvdb r")).unwrap();
    assert_eq!((disk.vdev.as_str(), disk.read_only), ("xvdb", true));
    let disk = parse_disk_arguments(&fields("target=/a,b.img vdev=xvdb access=r")).unwrap();
    assert_eq!((disk.target.to_str().unwrap(), disk.read_only), ("/a,b.img", true));
    let wrong = parse_vif_arguments(&fields("bridge=b macc=1")).unwrap_err();
    assert!(wrong.iter().next().unwrap().to_string().contains("macc"));
    assert!(parse_disk_arguments(&[]).is_err());
}
