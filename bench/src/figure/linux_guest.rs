// SPDX-License-Identifier: GPL-3.0-or-later
//! A Linux guest that runs a program.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// How long it may take to boot.
const BOOT: Duration = Duration::from_secs(120);

/// How long an attempt to connect may take.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Connects to the program as soon as the guest has booted and the program listens.
pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let deadline = Instant::now() + BOOT;
    // Until the guest has an address, the attempt waits; until the program listens, it is refused.
    loop {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                ensure!(Instant::now() < deadline, "the Linux guest does not answer: {error}");
            }
        }
    }
}
