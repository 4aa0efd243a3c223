// SPDX-License-Identifier: GPL-3.0-or-later
//! A log whose reader is closed.

use std::io;
use std::process::{Command, Stdio};

#[test]
fn noxsd_does_not_panic_when_its_log_is_closed() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    // noxsd logs an error: the account does not exist, or there is no Xen, or the user is not root.
    let status = Command::new(env!("CARGO_BIN_EXE_noxsd"))
        .args(["--user", "noxsd-no-such-user"])
        .stderr(Stdio::from(writer))
        .status()
        .unwrap();
    // A panic would abort the process with a signal.
    assert_eq!(status.code(), Some(1), "{status}");
}
