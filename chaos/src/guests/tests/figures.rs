// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of the figures of all guests.

use noxs_control::{
    Counted, Counters, DeviceCounters, DeviceStatus, DomainStatus, VbdStatus, VifStatus,
};
use xen::units::{DomId, DomainHandle};

use super::noxsd::Behaviour;
use super::{Bed, config};
use crate::guests::{DeviceFigures, GuestState, figures, rename};
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
    let other = DomainIdentity { handle: DomainHandle([8; 16]), ..id };
    let counters = Counters {
        vifs: [other, id].map(|id| Counted { id: id.into(), index: 0, counters: vif }).into(),
        vbds: vec![Counted { id: id.into(), index: 3, counters: vbd }],
    };
    noxsd.behave(Behaviour::Counts(counters));
    let mut names = NameTable::default();
    let found = figures(&bed.host, &mut names).unwrap();
    assert_eq!((found.unnamed, found.foreign, found.unserved), (1, 1, None));
    assert_eq!(found.changes.added, [("web".to_owned(), domid)]);
    let [guest] = &found.guests[..] else { panic!("one guest") };
    assert_eq!((&*guest.name, guest.identity), ("web", id));
    assert_eq!((guest.state, guest.broken_devices), (GuestState::Runnable, 0));
    assert_eq!(found.vifs, [DeviceFigures { guest: 0, index: 0, counters: vif }]);
    assert_eq!(found.vbds, [DeviceFigures { guest: 0, index: 3, counters: vbd }]);

    let broken = |name: &str, broken: Option<&str>| DeviceStatus {
        name: name.to_owned(),
        broken: broken.map(str::to_owned),
        counters: DeviceCounters::Vif(vif),
    };
    let devices = vec![broken("vif0", Some("why")), broken("vif1", None)];
    noxsd.behave(Behaviour::Reports(vec![DomainStatus { id: id.into(), devices }]));
    rename(&bed.host, "web", "shop").unwrap();
    let found = figures(&bed.host, &mut names).unwrap();
    assert_eq!((&*found.guests[0].name, found.guests[0].broken_devices), ("shop", 1));
    assert_eq!(found.changes.removed, [("web".to_owned(), domid)]);
}

#[test]
fn without_noxsd_the_figures_are_those_of_xen() {
    let (bed, noxsd) = Bed::with_noxsd();
    bed.create(&config("web")).unwrap();
    noxsd.behave(Behaviour::Dies("counters"));
    let found = figures(&bed.host, &mut NameTable::default()).unwrap();
    assert_eq!(found.guests.len(), 1);
    assert_eq!(found.vifs, []);
    assert!(found.unserved.unwrap().contains("noxsd"));
}
