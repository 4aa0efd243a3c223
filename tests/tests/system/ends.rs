//! The ends of guests.

use system_tests::{Bed, Guest, chaos};

#[test]
fn a_guest_that_powers_off_stays_listed_until_it_is_destroyed() {
    let _bed = Bed::new();
    let guest = Guest::create("noop.cfg", &[]);
    guest.wait_for_log("noop: ready");
    chaos(&["shutdown", &guest.name]).ok();
    // The answer came before the guest's last instruction; its end is awaited by -w.
    let outcome = chaos(&["shutdown", "--wait", "--json", &guest.name]).json();
    assert_eq!(outcome["state"], "powered-off");
    assert_eq!(outcome["destroyed"], true);
    assert!(guest.listed().is_none());
    guest.forget();
}

#[test]
fn shutdown_waits_and_destroys() {
    let bed = Bed::new();
    for config in ["noop.cfg", "daytime.cfg", "redis.cfg"] {
        let guest = Guest::create(config, &[]);
        chaos(&["shutdown", "-w", &guest.name]).ok();
        bed.assert_empty("after shutdown -w");
        guest.forget();
    }
}

#[test]
fn a_reboot_is_listed_as_one() {
    let _bed = Bed::new();
    let guest = Guest::create("noop.cfg", &[]);
    guest.wait_for_log("noop: ready");
    let outcome = chaos(&["reboot", "-w", "--json", &guest.name]).json();
    assert_eq!(outcome["state"], "rebooted");
    guest.forget();
}

#[test]
fn a_guest_that_does_not_answer_is_a_time_out() {
    let _bed = Bed::new();
    let guest = Guest::create("noop.cfg", &["--paused"]);
    chaos(&["shutdown", "-w", "--timeout", "1", &guest.name]).refused(5, &["noop", "1 s"]);
    guest.destroy();
}

#[test]
fn two_can_wait_at_once() {
    let bed = Bed::new();
    let guests: Vec<Guest> = ["a", "b", "c"]
        .iter()
        .map(|name| Guest::create("noop.cfg", &[&format!("name='{name}'")]))
        .collect();
    let waits: Vec<_> = guests
        .iter()
        .map(|guest| {
            let name = guest.name.clone();
            std::thread::spawn(move || chaos(&["shutdown", "-w", &name]).ok())
        })
        .collect();
    for wait in waits {
        wait.join().expect("the guest ends");
    }
    bed.assert_empty("after all have ended");
    guests.into_iter().for_each(Guest::forget);
}
