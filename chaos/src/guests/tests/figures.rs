// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of the figures of all guests.

use noxs_control::{
    CountedDevice, DeviceCounters, DeviceStatus, DomainCounters, DomainStatus, VbdStatus, VifStatus,
};
use xen::units::{DomId, DomainHandle};

use super::noxsd::Behaviour;
use super::{Bed, config};
use crate::guests::{GuestState, figures, rename};
use crate::handle::{self, DomainIdentity};
use crate::records::NameTable;

#[test]
fn figures_are_those_of_guests_with_their_devices() {
    let (bed, noxsd) = Bed::with_noxsd();
    let web = bed.create(&config("web")).unwrap();
    let domid = web.domid;
    let id = DomainIdentity { domid, handle: web.record.handle };
    bed.xen().add(DomId(5), DomainHandle([7; 16]));
    bed.xen().add(DomId(6), handle::new_handle().unwrap());
    let vif = VifStatus { from_guest_bytes: 7, dropped_frames: 1, ..VifStatus::default() };
    let vbd = VbdStatus { read_bytes: 512, ..VbdStatus::default() };
    let devices = vec![
        CountedDevice { index: 0, counters: DeviceCounters::Vif(vif) },
        CountedDevice { index: 3, counters: DeviceCounters::Vbd(vbd) },
    ];
    noxsd.behave(Behaviour::Counts(vec![DomainCounters { id: id.into(), devices }]));
    let mut names = NameTable::default();
    let found = figures(&bed.host, &mut names).unwrap();
    assert_eq!((found.unnamed, found.foreign, found.unserved), (1, 1, None));
    assert_eq!(found.changes.added, [("web".to_owned(), domid)]);
    let [guest] = &found.guests[..] else { panic!("one guest") };
    assert_eq!((guest.name.as_str(), guest.identity), ("web", id));
    assert_eq!((guest.state, guest.broken_devices), (GuestState::Runnable, 0));
    assert_eq!((&guest.vifs, &guest.vbds), (&vec![(0, vif)], &vec![(3, vbd)]));

    let broken = |name: &str, broken: Option<&str>| DeviceStatus {
        name: name.to_owned(),
        broken: broken.map(str::to_owned),
        counters: DeviceCounters::Vif(vif),
    };
    let devices = vec![broken("vif0", Some("why")), broken("vif1", None)];
    noxsd.behave(Behaviour::Reports(vec![DomainStatus { id: id.into(), devices }]));
    rename(&bed.host, "web", "shop").unwrap();
    let found = figures(&bed.host, &mut names).unwrap();
    assert_eq!((found.guests[0].name.as_str(), found.guests[0].broken_devices), ("shop", 1));
    assert_eq!(found.changes.removed, [("web".to_owned(), domid)]);
}

#[test]
fn without_noxsd_the_figures_are_those_of_xen() {
    let (bed, noxsd) = Bed::with_noxsd();
    bed.create(&config("web")).unwrap();
    noxsd.behave(Behaviour::Dies("counters"));
    let found = figures(&bed.host, &mut NameTable::default()).unwrap();
    assert_eq!(found.guests.len(), 1);
    assert!(found.guests[0].vifs.is_empty());
    assert!(found.unserved.unwrap().contains("noxsd"));
}
