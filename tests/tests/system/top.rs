// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos top` on a terminal.

use nix::sys::signal::Signal;
use system_tests::{Bed, Guest, OnTerminal};

/// What `chaos top` sends to take the terminal over, and to give it back.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// Where the summary is, in the last row of so many.
fn last_row(rows: u16) -> String {
    format!("\x1b[{rows};1H")
}

/// Starts it; only keys and a new size have it draw again for a long time.
#[track_caller]
fn start() -> OnTerminal {
    let mut top = OnTerminal::start(&["chaos", "top", "-d", "600"], 120, 30);
    let first = top.wait_for("also");
    for part in [ENTER, "NAME", "WRITTEN/s", "Domain-0", "noop", &last_row(30)] {
        assert!(first.contains(part), "{part:?} in {first:?}");
    }
    assert!(!top.has_its_modes(), "it reads keys one by one");
    top
}

#[test]
fn top_follows_the_size_of_its_terminal_and_gives_it_back() {
    let bed = Bed::new();
    let guest = Guest::create("noop.cfg", &[]);
    let mut top = start();
    top.resize(100, 20);
    top.wait_for(&last_row(20));
    top.wait_for("also");
    top.resize(140, 40);
    top.wait_for(&last_row(40));
    top.wait_for("also");
    top.type_keys(b"q");
    top.wait_for(LEAVE);
    assert_eq!(top.exit(), (Some(0), None));
    assert!(top.has_its_modes());
    // The raw mode takes Ctrl-C for a key.
    let mut top = start();
    top.type_keys(b"\x03");
    top.wait_for(LEAVE);
    assert_eq!(top.exit(), (Some(0), None));
    assert!(top.has_its_modes());
    guest.destroy();
    bed.assert_empty("after the guest");
}

#[test]
fn a_signal_that_ends_top_gives_the_terminal_back() {
    let bed = Bed::new();
    let guest = Guest::create("noop.cfg", &[]);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut top = start();
        top.kill(signal);
        top.wait_for(LEAVE);
        assert_eq!(top.exit(), (None, Some(signal as i32)));
        assert!(top.has_its_modes(), "{signal}");
    }
    guest.destroy();
    bed.assert_empty("after the guest");
}
