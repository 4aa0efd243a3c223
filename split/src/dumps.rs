// SPDX-License-Identifier: GPL-3.0-or-later
//! Core files of guests whose config says `coredump-destroy` or `coredump-restart`.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use chaos::guests::{self, EndedDomain, EndedGuest, Host};
use daemon::chain::chain;

use crate::removal::Removal;

/// The folder of the core files: one for each name of a guest, the newest. Only root may open it,
/// because a guest's memory has its secrets.
pub(crate) const FOLDER: &str = "/var/lib/chaos/dump";

/// Starts the thread that writes core files, and returns the way to it. When it has written one, it
/// passes the removal on to `removals`. So a slow disk delays guests with these actions only.
///
/// # Errors
/// The thread cannot be started.
pub(crate) fn start(removals: Sender<Removal>) -> io::Result<Sender<Removal>> {
    let (orders, todo) = channel::<Removal>();
    // It ends with the process: the next chaosd finds a guest that is left.
    thread::Builder::new().name("cores".into()).spawn(move || {
        let host = Host::open();
        for removal in todo {
            match &host {
                Ok(host) => dump(host, &removal),
                Err(error) => tracing::error!("cannot write a core: {}", chain(error)),
            }
            if removals.send(removal).is_err() {
                return;
            }
        }
    })?;
    Ok(orders)
}

fn dump(host: &Host, removal: &Removal) {
    let EndedDomain { domid, .. } = removal.ended;
    match guests::settled_ended_guest(host, domid) {
        Ok(Some(guest)) if guest.identity() == removal.ended.identity() => write(host, &guest),
        Ok(_) => {}
        Err(error) => tracing::error!("no core of domain {domid}: {}", chain(&error)),
    }
}

/// Writes the core file of a guest that has ended. A failure is logged: the guest is destroyed or
/// restarted all the same, as with xl.
fn write(host: &Host, guest: &EndedGuest) {
    let name = guest.record.name();
    let path = path_in(Path::new(FOLDER), name);
    let written = create(Path::new(FOLDER)).map_err(|error| error.to_string()).and_then(|()| {
        // The process ends all its threads when it is stopped.
        guest.dump_core(host, &path, &mut || false).map_err(|error| chain(&error))
    });
    match written {
        Ok(_) => tracing::info!("the core of {name} is in {}", path.display()),
        Err(error) => tracing::error!("no core of {name} in {}: {error}", path.display()),
    }
}

/// Removes what a process that was killed has left of core files.
pub(crate) fn clear_unfinished() {
    clear_in(Path::new(FOLDER));
}

fn path_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.core"))
}

fn create(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn clear_in(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        // Names of guests never begin with a dot.
        if entry.file_name().as_encoded_bytes().starts_with(b".")
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::warn!("cannot remove {}: {error}", entry.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_unfinished_files_are_removed_from_the_private_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/dump");
        clear_in(&folder);
        create(&folder).unwrap();
        create(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let whole = path_in(&folder, "web");
        for path in [&whole, &folder.join(".web.core.17")] {
            fs::write(path, "core").unwrap();
        }
        clear_in(&folder);
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|one| one.unwrap().path()).collect();
        assert_eq!(left, [whole]);
    }
}
