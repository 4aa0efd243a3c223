// SPDX-License-Identifier: GPL-3.0-or-later
//! Which Xen runs, and where its files are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where Linux says which Xen it runs on.
pub(crate) const VERSION: &str = "/sys/hypervisor/version";

/// Returns the version of the Xen that runs, such as `4.17`, from the folder [`VERSION`].
///
/// # Errors
/// It cannot be read.
pub(crate) fn read(folder: &Path) -> io::Result<String> {
    let part = |name| fs::read_to_string(folder.join(name)).map(|text| text.trim().to_owned());
    Ok(format!("{}.{}", part("major")?, part("minor")?))
}

/// Returns the folders of Xen's own files below `root`: Debian's, then those of Xen's own build with
/// its usual prefixes.
pub(crate) fn folders(root: &Path, version: &str) -> [PathBuf; 3] {
    [format!("usr/lib/xen-{version}"), "usr/lib/xen".into(), "usr/local/lib/xen".into()]
        .map(|folder| root.join(folder))
}
