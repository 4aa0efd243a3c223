// SPDX-License-Identifier: GPL-3.0-or-later
use std::rc::Rc;

use xen::units::{DomId, DomainHandle};
use xenstore::Kind;

use super::{Bed, config, config_without_devices};
use crate::clients::xenstored::Link;
use crate::clients::xenstored::tests::connection;
use crate::failure::FailureClass;
use crate::guests::{LifecycleError, domid_of, name_of, rename, resolve};
use crate::records::RecordError;

#[test]
fn a_guest_that_is_renamed_is_found_under_the_new_name_alone() {
    let (bed, _noxsd) = Bed::with_noxsd();
    bed.create(&config("old")).unwrap();
    rename(&bed.host, "old", "new").unwrap();
    assert_eq!(bed.host.records.names().unwrap(), [("new".to_owned(), DomId(1))]);
    assert_eq!(bed.host.records.read(DomId(1)).unwrap().unwrap().name(), "new");
    assert_eq!(domid_of(&bed.host, "new").unwrap(), DomId(1));
    assert_eq!(name_of(&bed.host, 1).unwrap(), "new");
    assert!(matches!(
        resolve(&bed.host, "old"),
        Err(LifecycleError::NoSuchGuest { target }) if target == "old"
    ));
    // By its domid, and to the name that it has.
    for _ in 0..2 {
        rename(&bed.host, "1", "again").unwrap();
        assert_eq!(name_of(&bed.host, 1).unwrap(), "again");
    }
    bed.create(&config_without_devices("old")).unwrap();
}

#[test]
fn a_name_that_cannot_be_given_leaves_the_guest_as_it_is() {
    let bed = Bed::new();
    bed.create(&config_without_devices("a")).unwrap();
    let other = bed.create(&config_without_devices("b")).unwrap().record;
    bed.host
        .records
        .record_restart(&{
            let mut pending = other;
            pending.config.name = "later".to_owned();
            pending
        })
        .unwrap();
    let before = bed.host.records.names().unwrap().len();
    let refused = |name: &str| rename(&bed.host, "a", name).unwrap_err();
    assert!(matches!(
        refused("b"),
        LifecycleError::Record(RecordError::NameInUse { domid: DomId(2), .. })
    ));
    assert!(matches!(refused("later"), LifecycleError::NamePending { .. }));
    for name in ["", "5", "-x", "a/b", "Domain-0"] {
        assert_eq!(refused(name).class(), FailureClass::WrongInput, "{name}");
    }
    assert!(matches!(rename(&bed.host, "absent", "c"), Err(LifecycleError::NoSuchGuest { .. })));
    assert_eq!(bed.host.records.names().unwrap().len(), before);
    assert_eq!(name_of(&bed.host, 1).unwrap(), "a");
    let lock = bed.host.records.lock(DomId(1)).unwrap();
    drop(lock);
    bed.xen().remove(DomId(1));
    assert!(domid_of(&bed.host, "a").is_err());
}

#[test]
fn the_name_of_another_toolstacks_domain_is_not_given_to_a_guest() {
    let mut bed = Bed::new();
    bed.create(&config_without_devices("a")).unwrap();
    bed.xen().add(DomId(5), DomainHandle([7; 16]));
    for (name, is_given) in [("by-xl", false), ("other", true)] {
        // The name of domain 5, and no time at which it has started.
        let answers: [(Kind, &[u8]); 2] = [(Kind::Read, b"by-xl"), (Kind::Error, b"ENOENT\0")];
        let (connection, _xenstored) = connection(&answers);
        bed.host.xenstored = Rc::new(Link::over(connection));
        match rename(&bed.host, "a", name) {
            Err(LifecycleError::Record(RecordError::NameInUse { domid: DomId(5), .. })) => {
                assert!(!is_given, "{name}");
            }
            renamed => assert!(renamed.is_ok() && is_given, "{name}: {renamed:?}"),
        }
        assert_eq!(name_of(&bed.host, 1).unwrap(), if is_given { name } else { "a" });
    }
}

#[test]
fn a_rename_that_was_killed_halfway_is_repeated() {
    let bed = Bed::new();
    bed.create(&config_without_devices("a")).unwrap();
    // Before the record was written, and after.
    bed.host.records.reserve_name("b", DomId(1), None).unwrap();
    rename(&bed.host, "a", "b").unwrap();
    assert_eq!(name_of(&bed.host, 1).unwrap(), "b");
    bed.host.records.reserve_name("a", DomId(1), None).unwrap();
    // The old name is free for another guest.
    bed.create(&config_without_devices("a")).unwrap();
    assert_eq!(domid_of(&bed.host, "a").unwrap(), DomId(2));
    assert_eq!(domid_of(&bed.host, "b").unwrap(), DomId(1));
}

#[test]
fn dom0_has_a_name_and_a_domain_of_another_toolstack_only_where_xenstore_runs() {
    let bed = Bed::new();
    assert_eq!(domid_of(&bed.host, "Domain-0").unwrap(), DomId::DOM0);
    assert_eq!(name_of(&bed.host, 0).unwrap(), "Domain-0");
    bed.xen().add(DomId(5), DomainHandle([7; 16]));
    assert!(matches!(name_of(&bed.host, 5), Err(LifecycleError::Unnamed { domid: DomId(5) })));
    let absent = domid_of(&bed.host, "by-xl").unwrap_err();
    assert!(matches!(absent, LifecycleError::NoSuchGuest { target } if target == "by-xl"));
    assert!(matches!(name_of(&bed.host, 6), Err(LifecycleError::NoSuchGuest { .. })));
}
