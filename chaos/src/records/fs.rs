// SPDX-License-Identifier: GPL-3.0-or-later
//! File operations after which a reader sees a whole file or none.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
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

/// Mode of each folder of records. A local user who could open one could keep it locked, and read
/// the configs of guests.
const PRIVATE: u32 = 0o700;

/// Creates a folder that only its owner may open, whatever the umask is.
pub(super) fn create_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(PRIVATE).create(folder)
}

/// Creates a folder that only its owner may open, below a root that each user may pass through:
/// the daemons' sockets are there, too. Folders that exist already stay as they are.
pub(super) fn create_below(root: &Path, folder: &Path) -> Result<(), RecordError> {
    if !root.exists() {
        fs::create_dir_all(root)
            .and_then(|()| fs::set_permissions(root, Permissions::from_mode(0o755)))
            .map_err(file_error("create the folder", root))?;
    }
    match create_private(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(file_error("create the folder", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Takes the rights of all users but the owner from a folder, if it exists.
pub(super) fn make_private(folder: &Path) -> Result<(), RecordError> {
    ignore_missing(fs::set_permissions(folder, Permissions::from_mode(PRIVATE)))
        .map_err(file_error("change the mode of", folder))
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
