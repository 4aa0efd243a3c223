// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders with exact modes, whatever the umask.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

/// Creates a folder, and those above it that are missing, with this mode. Does not change a folder
/// that exists: see [`tighten`].
///
/// # Errors
/// The folder cannot be created.
pub fn create(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        // The umask has removed bits.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                create(parent, mode)?;
                create(path, mode)
            }
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Removes the permissions of a folder that are not in `mode`, if the folder exists. Does not
/// follow a symbolic link.
///
/// # Errors
/// The path is not a folder, or belongs to another user.
pub fn tighten(path: &Path, mode: u32) -> io::Result<()> {
    let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
    let folder: File = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(folder) => folder,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let current = folder.metadata()?.permissions().mode() & 0o7777;
    if current & !mode == 0 {
        return Ok(());
    }
    folder.set_permissions(Permissions::from_mode(current & mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn new_folders_have_the_mode_and_wider_ones_are_tightened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/folder");
        create(&path, 0o775).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o775, 0o775));
        create(&path, 0o700).unwrap();
        assert_eq!(mode(&path), 0o775, "a folder that exists is not changed");
        tighten(&path, 0o750).unwrap();
        assert_eq!(mode(&path), 0o750);
        tighten(&path, 0o775).unwrap();
        assert_eq!(mode(&path), 0o750, "no permission is added");
    }

    #[test]
    fn files_links_and_missing_folders_are_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        tighten(&path.join("missing"), 0).unwrap();
        fs::write(path.join("file"), "").unwrap();
        std::os::unix::fs::symlink(path, path.join("link")).unwrap();
        for name in ["file", "link"] {
            assert!(tighten(&path.join(name), 0).is_err(), "{name}");
            assert!(create(&path.join("file"), 0o700).is_err(), "{name}");
        }
        assert_ne!(mode(path), 0);
    }
}
