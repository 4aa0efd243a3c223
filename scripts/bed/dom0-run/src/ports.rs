// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opens the virtio ports that lead to the host.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// How long to wait until the kernel has found the ports. It takes milliseconds, but emulation may
/// be slow.
const DEADLINE: Duration = Duration::from_secs(60);

/// Opens the named ports. Waits for those that the kernel has not found yet.
pub(crate) fn open<const N: usize>(names: [&str; N]) -> Result<[File; N], String> {
    let watch =
        Inotify::init(InitFlags::IN_CLOEXEC).map_err(|error| format!("inotify: {error}"))?;
    watch
        .add_watch("/dev", AddWatchFlags::IN_CREATE)
        .map_err(|error| format!("cannot watch /dev: {error}"))?;
    let start = Instant::now();
    // The watch exists before the first search, so that no port is missed in between.
    loop {
        let nodes = names.map(find);
        if nodes.iter().all(Option::is_some) {
            let mut files = Vec::with_capacity(N);
            for node in nodes.into_iter().flatten() {
                let file = File::options().write(true).open(&node);
                files.push(
                    file.map_err(|error| format!("cannot open {}: {error}", node.display()))?,
                );
            }
            return files.try_into().map_err(|_| "a port vanished".to_owned());
        }
        let left = DEADLINE.saturating_sub(start.elapsed());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut waiting = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, timeout) {
            Ok(0) => return Err(format!("no virtio ports {names:?} after {DEADLINE:?}")),
            Ok(_) => watch
                .read_events()
                .map(drop)
                .map_err(|error| format!("cannot read the events of /dev: {error}"))?,
            Err(error) => return Err(format!("cannot wait for ports: {error}")),
        }
    }
}

/// Returns the device node of the port with this name, if the kernel has found it.
fn find(name: &str) -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    for port in ports.flatten() {
        let found = fs::read_to_string(port.path().join("name")).unwrap_or_default();
        let node = Path::new("/dev").join(port.file_name());
        if found.trim_end() == name && node.exists() {
            return Some(node);
        }
    }
    None
}
