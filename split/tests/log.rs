//! A log that nobody reads.

use std::io;
use std::process::{Command, Stdio};

#[test]
fn chaosd_goes_on_when_its_log_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("chaosd.toml");
    std::fs::write(&settings, "memory = '8M'\n").unwrap();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    // It says in its log that all is right.
    let status = Command::new(env!("CARGO_BIN_EXE_chaosd"))
        .arg("--check")
        .arg("--config")
        .arg(&settings)
        .stderr(Stdio::from(writer))
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}
