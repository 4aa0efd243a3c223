// SPDX-License-Identifier: GPL-3.0-or-later
//! Finds the PV shim: a small Xen that boots as a PVH guest and runs a PV kernel in it
//! (Xen's `docs/misc/pv-shim.pandoc`).

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::xen_version::{self, VERSION};

/// Why there is no PV shim.
#[derive(Debug, Error)]
pub enum ShimError {
    /// It is not known which Xen runs.
    #[error(
        "cannot read the version of Xen from {VERSION}, so the PV shim is not known; name it with pvshim_path"
    )]
    NoVersion(#[source] io::Error),
    /// It is not installed.
    #[error(
        "the PV shim, which runs a PV kernel, is not installed at {}; on Debian install xen-utils-{version}, \
         or name its file with pvshim_path",
        looked_at.display()
    )]
    NotInstalled {
        /// The version of Xen.
        version: String,
        /// Where Debian has it.
        looked_at: PathBuf,
    },
}

/// Returns the PV shim of the Xen that runs.
///
/// # Errors
/// It is not known which Xen runs, or its PV shim is not installed.
pub fn find() -> Result<PathBuf, ShimError> {
    find_below(Path::new("/"), Path::new(VERSION))
}

fn find_below(root: &Path, version: &Path) -> Result<PathBuf, ShimError> {
    let version = xen_version::read(version).map_err(ShimError::NoVersion)?;
    let paths = xen_version::folders(root, &version).map(|folder| folder.join("boot/xen-shim"));
    let looked_at = paths[0].clone();
    paths
        .into_iter()
        .find(|path| path.is_file())
        .ok_or(ShimError::NotInstalled { version, looked_at })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_shim_of_the_running_version_comes_first() {
        let root = tempfile::tempdir().unwrap();
        let version = root.path().join("version");
        let find = || find_below(root.path(), &version);
        assert!(matches!(find(), Err(ShimError::NoVersion(_))));
        fs::create_dir(&version).unwrap();
        fs::write(version.join("major"), "4\n").unwrap();
        fs::write(version.join("minor"), "17\n").unwrap();
        let error = find().unwrap_err().to_string();
        assert!(error.contains("usr/lib/xen-4.17/boot/xen-shim"), "{error}");
        assert!(error.contains("install xen-utils-4.17"), "{error}");
        for folder in ["usr/local/lib/xen", "usr/lib/xen-4.17"] {
            let folder = root.path().join(folder).join("boot");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("xen-shim"), "").unwrap();
            assert_eq!(find().unwrap(), folder.join("xen-shim"));
        }
    }
}
