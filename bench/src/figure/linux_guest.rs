// SPDX-License-Identifier: GPL-3.0-or-later
//! A Linux guest that runs a program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use chaos_bench::words;

/// Writes a ramdisk with more files (their paths in dom0, and in the guest) and a line of shell that
/// the guest's init runs in the background.
pub(crate) fn ramdisk(files: &[(&Path, &Path)], start: &str, to: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let top = folder.path();
    for (from, path) in files {
        let path = top.join(path.strip_prefix("/").unwrap_or(path));
        fs::create_dir_all(path.parent().context("the path has no folder")?)?;
        fs::copy(from, path).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let script = top.join("start");
    fs::write(&script, format!("#!/bin/busybox sh\n{start}\n"))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    // Linux unpacks concatenated archives one after the other (initramfs-buffer-format.rst).
    let archive = Command::new("sh")
        .args(["-c", "find . | cpio -o -H newc"])
        .current_dir(top)
        .stderr(Stdio::null())
        .output()?;
    ensure!(archive.status.success(), "cannot build the Linux guest's ramdisk with cpio");
    let mut ramdisk = fs::read("linux.cpio").context("cannot read the Linux guest's ramdisk")?;
    ramdisk.extend(archive.stdout);
    fs::write(to, ramdisk).with_context(|| format!("cannot write {}", to.display()))
}

/// Creates the guest with a command, and waits until its console shows a word.
pub(crate) fn boot(name: &str, word: &str, create: impl FnOnce() -> Result<()>) -> Result<()> {
    let log = words::new_console_log(name)?;
    create()?;
    words::wait_for_log(&log, word).with_context(|| format!("{name} does not boot"))
}
