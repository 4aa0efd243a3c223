// SPDX-License-Identifier: GPL-3.0-or-later
//! Which files exist in dom0.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where packages and their scripts put files, besides `/run/chaos`.
const FOLDERS: [&str; 3] = ["/etc", "/usr", "/var"];

/// What dpkg, apt and the system's own programs write, also without these packages.
const OTHERS: [&str; 7] = [
    "/etc/ld.so.cache",
    "/var/cache",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/log",
    "/var/tmp",
    "/usr/local",
];

/// The files of users and groups and their backups and lock, which systemd-sysusers writes.
const USERS: [&str; 9] = [
    "/etc/.pwd.lock",
    "/etc/group",
    "/etc/group-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/passwd",
    "/etc/passwd-",
    "/etc/shadow",
    "/etc/shadow-",
];

/// Returns all files and folders that packages may add.
///
/// # Panics
/// A folder cannot be read.
pub(crate) fn all() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for folder in FOLDERS {
        collect(Path::new(folder), &mut found);
    }
    found
}

fn collect(path: &Path, found: &mut BTreeSet<PathBuf>) {
    let is_other = |other: &&str| path == Path::new(other);
    // Of a link itself: the unit of a removed package is a link to /dev/null.
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    if OTHERS.iter().chain(&USERS).any(is_other) {
        return;
    }
    found.insert(path.to_owned());
    if metadata.is_dir() {
        for entry in fs::read_dir(path).expect("root reads all folders") {
            collect(&entry.expect("root reads all folders").path(), found);
        }
    }
}
