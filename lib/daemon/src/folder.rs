// SPDX-License-Identifier: MIT OR Apache-2.0
//! Folders with exact modes, whatever the umask.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Creates a folder, and those above it that are missing, with this mode. Does not change a folder
/// that exists.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn new_folders_have_the_mode_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/folder");
        create(&path, 0o775).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o775, 0o775));
        create(&path, 0o700).unwrap();
        assert_eq!(mode(&path), 0o775, "a folder that exists is not changed");
    }
}
