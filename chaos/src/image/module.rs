// SPDX-License-Identifier: GPL-3.0-or-later
//! A module: a file that is copied into the guest unchanged, such as a ramdisk.

use std::fs::File;
use std::path::Path;

use super::error::ImageError;
use super::file::{ImageKey, open_with_key};

/// An open module. It is read later, straight into the guest.
#[derive(Debug)]
pub struct ModuleFile {
    file: File,
    key: ImageKey,
}

impl ModuleFile {
    /// Opens a module.
    ///
    /// # Errors
    /// The file cannot be opened, is not a regular file, empty, or larger than [`super::MAX_SIZE`].
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let (file, key) = open_with_key(path)?;
        Self::with_key(file, key)
    }

    /// Takes an open file.
    ///
    /// # Errors
    /// As [`ModuleFile::open`].
    pub fn new(file: File) -> Result<Self, ImageError> {
        let key = ImageKey::of(&file)?;
        Self::with_key(file, key)
    }

    fn with_key(file: File, key: ImageKey) -> Result<Self, ImageError> {
        if key.size == 0 { Err(ImageError::Empty) } else { Ok(Self { file, key }) }
    }

    /// Returns its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.key.size
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Checks that the file has not changed since it was opened. To be called after reading it.
    ///
    /// # Errors
    /// [`ImageError::Changed`], or the metadata cannot be read.
    pub(crate) fn check_unchanged(&self) -> Result<(), ImageError> {
        if ImageKey::of(&self.file)? == self.key { Ok(()) } else { Err(ImageError::Changed) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_file_that_grows_is_detected() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(b"ramdisk").expect("the file is writable");
        let ramdisk = ModuleFile::open(file.path()).expect("it is a regular file");
        assert_eq!(ramdisk.size(), 7);
        assert!(ramdisk.check_unchanged().is_ok());
        file.as_file().write_all_at(b"more", 7).expect("the file is writable");
        assert!(matches!(ramdisk.check_unchanged(), Err(ImageError::Changed)));
    }

    #[test]
    fn a_directory_is_not_a_ramdisk() {
        let opened = ModuleFile::open(Path::new("/tmp"));
        assert!(matches!(opened, Err(ImageError::NotRegular)));
    }

    #[test]
    fn an_empty_file_is_not_a_ramdisk() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        assert!(matches!(ModuleFile::open(file.path()), Err(ImageError::Empty)));
    }
}
