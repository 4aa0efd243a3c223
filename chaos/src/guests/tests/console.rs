// SPDX-License-Identifier: GPL-3.0-or-later
use daemon::chain::chain;
use noxs_control::{ConsoleRole, ConsoleUse};
use xen::domain::ShutdownReason;
use xen::units::DomId;

use super::{Bed, config, config_without_devices};
use crate::guests::{GuestState, LifecycleError, console, pause};
use crate::handle;

const TERMINAL: ConsoleUse = ConsoleUse::Terminal;

#[test]
fn the_console_of_a_running_guest_is_connected() {
    let (bed, _noxsd) = Bed::with_noxsd();
    bed.create(&config("a")).unwrap();
    let console = console(&bed.host, "a", TERMINAL).unwrap();
    assert_eq!((console.name.as_str(), console.idle), ("a", None));
    assert_eq!(console.role, ConsoleRole::Writer);
}

#[test]
fn a_paused_or_suspended_guest_is_reported_as_such() {
    let (bed, _noxsd) = Bed::with_noxsd();
    let domid = bed.create(&config("a")).unwrap().domid;
    pause(&bed.host, "a").unwrap();
    assert_eq!(console(&bed.host, "1", TERMINAL).unwrap().idle, Some(GuestState::Paused));
    bed.xen().change(domid, |info| info.state.shutdown = Some(ShutdownReason::Suspend));
    assert_eq!(console(&bed.host, "1", TERMINAL).unwrap().idle, Some(GuestState::Suspended));
}

#[test]
fn the_console_of_a_guest_that_has_ended_is_refused_with_the_reason() {
    for (reason, text) in [
        (ShutdownReason::Poweroff, "guest a has powered off, so its console is closed"),
        (ShutdownReason::Reboot, "guest a has rebooted, so"),
        (ShutdownReason::Crash, "guest a has crashed, so"),
    ] {
        let (bed, _noxsd) = Bed::with_noxsd();
        let domid = bed.create(&config("a")).unwrap().domid;
        bed.xen().change(domid, |info| info.state.shutdown = Some(reason));
        let error = console(&bed.host, "a", TERMINAL).unwrap_err();
        assert!(chain(&error).starts_with(text), "{}", chain(&error));
        assert!(!bed.done().contains(&"noxsd: console".to_owned()));
        bed.xen().remove(domid);
        let error = console(&bed.host, "a", TERMINAL).unwrap_err();
        assert!(chain(&error).starts_with("guest a is gone, so"), "{}", chain(&error));
    }
}

#[test]
fn what_has_no_console_says_why() {
    let bed = Bed::new();
    bed.create(&config_without_devices("a")).unwrap();
    let error = console(&bed.host, "a", TERMINAL).unwrap_err();
    assert!(matches!(error, LifecycleError::NoConsole { .. }), "{error:?}");
    bed.leave_incomplete(DomId(2), handle::new_handle().unwrap(), "creating");
    let error = console(&bed.host, "creating", TERMINAL).unwrap_err();
    assert!(matches!(error, LifecycleError::BeingCreated { .. }), "{error:?}");
    let error = console(&bed.host, "nothing", TERMINAL).unwrap_err();
    assert!(matches!(error, LifecycleError::NoSuchGuest { .. }), "{error:?}");
}
