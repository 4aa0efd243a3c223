// SPDX-License-Identifier: GPL-3.0-or-later
//! What killed creates leave is removed by the next commands.

use std::path::Path;

use nix::errno::Errno;
use xen::units::DomId;

use super::{Bed, config_without_devices, parse};
use crate::config::DomainConfig;
use crate::guests::{self, CreateOptions, GuestState, LifecycleError, list, reap};
use crate::handle;
use crate::hypervisor::fake::abandoned_handle;
use crate::timings::Timings;

/// Creates a guest as `chaos create` does where no chaosd runs.
fn create(bed: &Bed, name: &str) -> Result<DomId, LifecycleError> {
    let kernel = bed.folder.path().join("kernel");
    std::fs::write(&kernel, crate::image::tests::kernel()).unwrap();
    let config = config_of(name, &kernel);
    let options = CreateOptions::default();
    guests::create(&bed.host, &config, options, &mut Timings::start()).map(|created| created.domid)
}

fn config_of(name: &str, kernel: &Path) -> DomainConfig {
    let kernel = kernel.display();
    parse(&format!("name='{name}'\ntype='pvh'\nkernel='{kernel}'\nmemory=4\nconsole=0"))
}

fn states(bed: &Bed) -> Vec<(Option<u16>, GuestState)> {
    let guests = list(&bed.host, false).unwrap().guests;
    guests.iter().map(|guest| (guest.domid, guest.state)).collect()
}

#[test]
fn list_removes_incomplete_domains_and_no_others() {
    let (bed, _noxsd) = Bed::with_noxsd();
    bed.create(&config_without_devices("guest")).unwrap();
    bed.leave_incomplete(DomId(2), abandoned_handle(), "killed");
    bed.leave_incomplete(DomId(3), handle::new_handle().unwrap(), "creating");
    let left = [(Some(1), GuestState::Runnable), (Some(3), GuestState::Creating)];
    assert_eq!(states(&bed), left);
    assert_eq!(bed.xen().domids(), [1, 3]);
    assert_eq!(bed.host.records.holder("killed").unwrap(), None);
    assert!(bed.done().contains(&"noxsd: detach".to_owned()));
}

#[test]
fn an_incomplete_domain_that_cannot_be_removed_is_listed_with_the_reason() {
    let (bed, _noxsd) = Bed::with_noxsd();
    bed.leave_incomplete(DomId(1), abandoned_handle(), "killed");
    bed.xen().fail("destroy", Errno::EIO);
    let guests = list(&bed.host, false).unwrap().guests;
    assert_eq!((guests[0].state, guests.len()), (GuestState::Incomplete, 1));
    assert!(guests[0].fault.as_ref().unwrap().contains("EIO"), "{:?}", guests[0].fault);
}

#[test]
fn a_create_removes_the_incomplete_domains_just_before_it() {
    let bed = Bed::new();
    let first = create(&bed, "first").unwrap();
    for (domid, name) in [(2, "a"), (3, "b")] {
        bed.leave_incomplete(DomId(domid), abandoned_handle(), name);
    }
    let second = create(&bed, "second").unwrap();
    assert_eq!(bed.xen().domids(), [first.0, second.0]);
    bed.leave_incomplete(DomId(5), handle::new_handle().unwrap(), "creating");
    let third = create(&bed, "third").unwrap();
    assert_eq!(bed.xen().domids(), [first.0, second.0, 5, third.0]);
}

#[test]
fn a_create_without_memory_removes_all_incomplete_domains_and_tries_again() {
    let bed = Bed::new();
    bed.leave_incomplete(DomId(1), abandoned_handle(), "killed");
    bed.xen().add(DomId(2), xen::units::DomainHandle([7; 16]));
    bed.xen().fail_while_incomplete("prepare", Errno::ENOMEM);
    let domid = create(&bed, "a").unwrap();
    assert_eq!(bed.xen().domids(), [2, domid.0]);
    bed.xen().fail("prepare", Errno::ENOMEM);
    assert!(create(&bed, "b").unwrap_err().is_out_of_memory());
}

#[test]
fn reaping_touches_nothing_that_may_be_alive() {
    let bed = Bed::new();
    bed.create(&config_without_devices("runs")).unwrap();
    let paused = CreateOptions { paused: true, ..CreateOptions::default() };
    bed.create_with(&config_without_devices("paused"), paused).unwrap();
    bed.leave_incomplete(DomId(3), handle::new_handle().unwrap(), "creating");
    bed.xen().add(DomId(4), xen::units::DomainHandle([7; 16]));
    bed.leave_incomplete(DomId(5), abandoned_handle(), "has run");
    bed.xen().change(DomId(5), |info| info.cpu_time_ns = 1);
    assert_eq!(reap(&bed.host).unwrap(), 0);
    assert_eq!(bed.xen().domids(), [1, 2, 3, 4, 5]);
    bed.xen().change(DomId(5), |info| info.cpu_time_ns = 0);
    assert_eq!(reap(&bed.host).unwrap(), 1);
    assert_eq!(bed.xen().domids(), [1, 2, 3, 4]);
}

#[test]
fn a_guest_that_is_destroyed_while_it_is_listed_is_not_listed() {
    let bed = Bed::new();
    let domid = bed.create(&config_without_devices("a")).unwrap().domid;
    // The record and the domain go away between the calls of the list.
    bed.host.records.remove(domid, Some("a")).unwrap();
    bed.xen().remove_after("domain_list", domid);
    assert_eq!(states(&bed), []);
}
