// SPDX-License-Identifier: GPL-3.0-or-later
//! The file that a core is written to.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::DumpError;

/// A core file that gets its name when it is complete, and is removed if it is dropped before.
#[derive(Debug)]
pub struct CoreFile {
    file: File,
    path: PathBuf,
    /// Its name until then.
    temporary: PathBuf,
    is_complete: bool,
}

impl CoreFile {
    /// Creates the file under a name of its own in the same folder, for its owner only: a guest's memory
    /// has its secrets.
    ///
    /// # Errors
    /// The path names something other than a regular file, or the file cannot be created.
    pub fn create(path: &Path) -> Result<Self, DumpError> {
        // Not to replace /dev/null, or what a link points to.
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                return Err(DumpError::NotAFile { path: path.to_owned() });
            }
            _ => {}
        }
        let name = path.file_name().ok_or_else(|| DumpError::NotAFile { path: path.to_owned() })?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(hidden);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed(path))?;
        Ok(Self { file, path: path.to_owned(), temporary, is_complete: false })
    }

    /// Returns the file, to which the core is to be written.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Renames the file to its name, after everything has arrived on the disk: some file systems report
    /// only then that it is full. A file that had the name is gone then.
    ///
    /// # Errors
    /// The file cannot be written or renamed.
    pub fn complete(mut self) -> Result<(), DumpError> {
        self.file.sync_all().map_err(|source| DumpError::Write { source })?;
        fs::rename(&self.temporary, &self.path).map_err(failed(&self.path))?;
        self.is_complete = true;
        Ok(())
    }
}

impl Drop for CoreFile {
    fn drop(&mut self) {
        if !self.is_complete {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> DumpError {
    let path = path.to_owned();
    |source| DumpError::Create { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let names = || fs::read_dir(&folder).unwrap().count();
        let path = folder.path().join("core");
        fs::write(&path, "older").unwrap();
        let new = CoreFile::create(&path).unwrap();
        assert_eq!((names(), fs::read(&path).unwrap()), (2, b"older".to_vec()));
        drop(new);
        assert_eq!((names(), fs::read(&path).unwrap()), (1, b"older".to_vec()));
        CoreFile::create(&path).unwrap().complete().unwrap();
        assert_eq!((names(), fs::read(&path).unwrap()), (1, Vec::new()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn only_regular_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink("/dev/null", &link).unwrap();
        for path in [Path::new("/dev/null"), folder.path(), &link, Path::new("/")] {
            let error = CoreFile::create(path).unwrap_err();
            assert!(matches!(error, DumpError::NotAFile { .. }), "{error}");
        }
        let error = CoreFile::create(&folder.path().join("missing/core")).unwrap_err();
        assert!(matches!(error, DumpError::Create { .. }), "{error}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
}
