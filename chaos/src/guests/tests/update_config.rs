// SPDX-License-Identifier: GPL-3.0-or-later
use std::fs;
use std::path::PathBuf;

use xen::domain::ShutdownReason;
use xen::units::{DomId, KiB};

use super::{Bed, config, parse};
use crate::config::{Action, DomainConfig};
use crate::failure::FailureClass;
use crate::guests::{
    CreateOptions, LifecycleError, UpdateError, ended_guest, rename, rename_ended, update_config,
};

/// Returns the config of a guest with a kernel that exists, and two vifs.
fn next(bed: &Bed, name: &str, more: &str) -> DomainConfig {
    let kernel = bed.folder.path().join("next");
    fs::write(&kernel, crate::image::tests::kernel()).unwrap();
    let kernel = kernel.display();
    parse(&format!(
        "name='{name}'\ntype='pvh'\nkernel='{kernel}'\nmemory=8\nvif=['bridge=b','bridge=c']\n\
         store='xenstore'\n{more}"
    ))
}

fn end(bed: &Bed, domid: DomId) {
    bed.xen().change(domid, |info| info.state.shutdown = Some(ShutdownReason::Reboot));
}

#[test]
fn a_guest_ends_and_restarts_with_its_next_config_and_its_record_stays() {
    let (bed, _noxsd) = Bed::with_noxsd();
    let before = bed.create(&config("a")).unwrap().record;
    for actions in ["", "on_reboot='rename-restart'\non_crash='preserve'"] {
        let updated = update_config(&bed.host, "a", &next(&bed, "a", actions)).unwrap();
        assert_eq!((updated.name.as_str(), updated.domid, updated.restarts), ("a", DomId(1), true));
    }
    // It keeps its next config.
    rename(&bed.host, "a", "b").unwrap();
    end(&bed, DomId(1));
    let guest = ended_guest(&bed.host, DomId(1)).unwrap().unwrap();
    assert_eq!(guest.action(), Action::RenameRestart);
    assert_eq!(guest.record.config.memory, before.config.memory);
    let successor = &guest.successor.config;
    assert_eq!((guest.successor.name(), successor.memory), ("b", KiB(8 << 10)));
    let macs: Vec<_> = successor.vifs.iter().map(|vif| vif.mac).collect();
    assert_eq!(macs, [before.config.vifs[0].mac, None]);
    // The guest that is kept restarts no more.
    rename_ended(&bed.host, &guest).unwrap();
    drop(guest);
    let kept = ended_guest(&bed.host, DomId(1)).unwrap().unwrap();
    assert_eq!((kept.action(), kept.successor.name()), (Action::Preserve, "b-1"));
}

#[test]
fn an_address_that_another_vif_of_the_new_config_has_is_not_kept() {
    let (bed, _noxsd) = Bed::with_noxsd();
    let before = bed.create(&config("a")).unwrap().record;
    let mut swapped = next(&bed, "a", "on_reboot='destroy'");
    swapped.vifs[1].mac = before.config.vifs[0].mac;
    assert!(!update_config(&bed.host, "a", &swapped).unwrap().restarts);
    let next = bed.host.records.with_next(&before).unwrap();
    assert_eq!(next.config.vifs, swapped.vifs);
}

#[test]
fn a_config_that_cannot_be_used_changes_nothing() {
    let (bed, _noxsd) = Bed::with_noxsd();
    let record = bed.create(&config("a")).unwrap().record;
    let members = CreateOptions { owner: 7, ..CreateOptions::default() };
    bed.create_with(&config("member"), members).unwrap();
    bed.create(&config("ended")).unwrap();
    end(&bed, DomId(3));
    let refused =
        |target: &str, config: &DomainConfig| update_config(&bed.host, target, config).unwrap_err();
    let good = next(&bed, "a", "");
    let no_kernel = DomainConfig { kernel: PathBuf::from("/no/kernel"), ..good.clone() };
    let no_ramdisk = DomainConfig { ramdisk: Some(PathBuf::from("/no/ramdisk")), ..good.clone() };
    for wrong in [no_kernel, no_ramdisk, next(&bed, "b", "")] {
        assert_eq!(refused("a", &wrong).class(), FailureClass::WrongInput);
    }
    let other = refused("1", &next(&bed, "b", "")).to_string();
    assert!(other.starts_with("name = \"b\": must be \"a\""), "{other}");
    assert!(matches!(
        refused("member", &next(&bed, "member", "")),
        LifecycleError::Update(UpdateError::OfMember { owner: 7, .. })
    ));
    assert!(matches!(refused("ended", &next(&bed, "ended", "")), LifecycleError::HasEnded { .. }));
    assert!(matches!(refused("absent", &good), LifecycleError::NoSuchGuest { .. }));
    assert_eq!(bed.host.records.with_next(&record).unwrap(), record);
}
