//! A log that nobody reads.

use std::io;
use std::process::{Command, Stdio};

#[test]
fn noxsd_does_not_panic_when_its_log_is_closed() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    // There is no such account, or no Xen, or the user is not root: whatever comes first, it is told.
    let status = Command::new(env!("CARGO_BIN_EXE_noxsd"))
        .args(["--user", "nobody-has-this-name"])
        .stderr(Stdio::from(writer))
        .status()
        .unwrap();
    // A panic would end it by a signal.
    assert_eq!(status.code(), Some(1), "{status}");
}
