// SPDX-License-Identifier: GPL-3.0-or-later
//! A closed log.

use std::io;
use std::process::{Command, Stdio};

#[test]
fn chaosd_keeps_working_when_its_log_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("chaosd.toml");
    std::fs::write(&settings, "memory = '8M'\n").unwrap();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    // It logs that the file is valid.
    let status = Command::new(env!("CARGO_BIN_EXE_chaosd"))
        .arg("--check")
        .arg("--config")
        .arg(&settings)
        .stderr(Stdio::from(writer))
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}
