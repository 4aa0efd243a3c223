// SPDX-License-Identifier: GPL-3.0-or-later
//! Looks at files before opening them.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open};

/// A file that was found, but is not open.
///
/// Opening a device can have an effect, such as starting a watchdog that resets the host, or
/// rewinding a tape. Whether a path leads to one can change between a look and opening it, so the
/// file that was looked at is opened, not the path.
#[derive(Debug)]
pub(crate) struct FoundFile {
    found: OwnedFd,
    /// Its metadata.
    pub(crate) stat: Stat,
}

impl FoundFile {
    /// Finds the file at a path. Follows links.
    ///
    /// # Errors
    /// There is none, or it cannot be reached.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let found = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstat(&found)?;
        Ok(Self { found, stat })
    }

    /// Returns its kind.
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens it for reading, with some flags more.
    ///
    /// # Errors
    /// It may not be read, or /proc is not mounted.
    pub(crate) fn open(&self, flags: OFlags) -> io::Result<File> {
        // This path leads to the file that was found, even if the other one leads elsewhere now.
        let path = format!("/proc/self/fd/{}", self.found.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC | flags;
        Ok(open(path, flags, Mode::empty())?.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use super::*;

    #[test]
    fn the_file_that_was_found_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "first").unwrap();
        let found = FoundFile::at(&path).unwrap();
        assert_eq!(found.kind(), FileType::RegularFile);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "second").unwrap();
        let mut text = String::new();
        found.open(OFlags::empty()).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "first");
        assert!(FoundFile::at("/no/such/file".as_ref()).is_err());
    }
}
