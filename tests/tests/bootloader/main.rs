// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of `bootloader=`, which `scripts/test` runs in dom0 of a real Xen with xl, Python and
//! e2fsprogs: Xen's own pygrub finds kernels on disks, and scripts try to leave the place where they
//! run.
//!
//! They share one machine, so they run one after the other, with `--test-threads=1`.

mod jail;
mod pygrub;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use system_tests::{Bed, run};

/// Checks that nothing of a bootloader is left in dom0.
#[track_caller]
fn assert_no_bootloader(when: &str) {
    let stage = Path::new("/run/chaos/boot");
    let files = fs::read_dir(stage).map_or(0, Iterator::count);
    assert_eq!(files, 0, "files in {} {when}", stage.display());
    let mounts = fs::read_to_string("/proc/self/mounts").expect("proc is mounted");
    assert!(!mounts.contains("chaos/boot"), "mounts {when}: {mounts}");
    let processes = run("ps", &["-o", "pid,args"]).ok();
    let left: Vec<_> = processes.lines().filter(|line| line.contains("--output-format")).collect();
    assert!(left.is_empty(), "processes {when}: {left:?}");
}

/// Writes a program.
fn program(bed: &Bed, name: &str, text: &str) -> String {
    let path = bed.file(name, format!("#!/bin/sh\n{text}\n"));
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it is root's");
    path
}
