// SPDX-License-Identifier: GPL-3.0-or-later
//! File operations after which a reader sees a whole file or none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::error::{RecordError, file_error};

/// Returns the names in a folder, without those that are not UTF-8; none if the folder does not
/// exist.
pub(super) fn file_names(folder: &Path) -> Result<Vec<String>, RecordError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error("read", folder)(error)),
    };
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

/// Turns the error that a file does not exist into success.
pub(super) fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Writes a file that does not exist yet, in one piece: a reader sees an empty file or all of it.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    create_new(path).and_then(|mut file| file.write_all(bytes)).map_err(file_error("write", path))
}

/// Creates a file that does not exist yet.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)
}

/// Replaces a file: a reader sees all of the old one or all of the new one.
pub(super) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), RecordError> {
    let new = folder.join(format!("{name}.new"));
    let path = folder.join(name);
    // Not `create_new`: a process that was killed may have left its new file.
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(&new)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(file_error("write", &new))?;
    fs::rename(&new, &path).map_err(file_error("write", &path))
}
