// SPDX-License-Identifier: GPL-3.0-or-later
//! The files in a domain's folder.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use noxs_control::record::{DeviceRecord, MAX_RECORD};
use noxs_control::{Attach, MAX_UNWRITTEN};
use xen::units::DomId;

use super::error::{RecordError, file_error};
use super::fs::{create_below, create_private, file_names, ignore_missing, replace, write_new};
use super::paths::{RECORD, Records};
use super::prepared::PreparedRecord;
use super::record::Record;
use super::stored;

impl Records {
    /// Creates a domain's folder. If a predecessor with the same domid left one, that is emptied:
    /// Xen has reused its number, so the predecessor is gone.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn make_folder(&self, domid: DomId) -> Result<(), RecordError> {
        let folder = self.folder(domid);
        match create_private(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_below(self.root(), &self.domains())?;
                create_private(&folder).map_err(file_error("create the folder", &folder))?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir_all(&folder)
                    .map_err(file_error("remove the stale folder", &folder))?;
                create_private(&folder).map_err(file_error("create the folder", &folder))?;
            }
            Err(error) => return Err(file_error("create the folder", &folder)(error)),
        }
        Ok(())
    }

    /// Creates the log of a domain's console.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create_console_log(&self, domid: DomId) -> Result<File, RecordError> {
        let path = self.console_log(domid);
        OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o640)
            .open(&path)
            .map_err(file_error("create", &path))
    }

    /// Writes what `noxsd` needs to attach the domain's devices again after a restart.
    ///
    /// # Errors
    /// The file cannot be written, or would be longer than [`MAX_RECORD`].
    pub fn write_devices(&self, attach: &Attach) -> Result<(), RecordError> {
        let path = self.folder(DomId(attach.id.domid)).join(noxs_control::RECORD_FILE);
        let bytes = encode_devices(attach, || path.clone())?;
        write_new(&path, &bytes)
    }

    /// Replaces what [`write_devices`](Self::write_devices) has written.
    ///
    /// # Errors
    /// The file cannot be written, or would be longer than [`MAX_RECORD`].
    pub fn replace_devices(&self, attach: &Attach) -> Result<(), RecordError> {
        let folder = self.folder(DomId(attach.id.domid));
        let bytes = encode_devices(attach, || folder.join(noxs_control::RECORD_FILE))?;
        replace(&folder, noxs_control::RECORD_FILE, &bytes)
    }

    /// Reads what [`write_devices`](Self::write_devices) has written. Returns `None` if the domain
    /// has no device file, or one that cannot be used, which `noxsd` reports.
    ///
    /// # Errors
    /// The file exists and cannot be read.
    pub fn devices(&self, domid: DomId) -> Result<Option<Attach>, RecordError> {
        let path = self.folder(domid).join(noxs_control::RECORD_FILE);
        match fs::read(&path) {
            Ok(bytes) => Ok(DeviceRecord::decode(&bytes).ok().map(Attach::from)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error("read", &path)(error)),
        }
    }

    /// Removes the device file of a domain that keeps its record, so that a restarted `noxsd` does
    /// not attach the devices again.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn forget_devices(&self, domid: DomId) -> Result<(), RecordError> {
        let path = self.folder(domid).join(noxs_control::RECORD_FILE);
        ignore_missing(fs::remove_file(&path)).map_err(file_error("remove", &path))
    }

    /// Writes the first record of a domain, into the file that was prepared for it, if there is
    /// one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(
        &self,
        record: &Record,
        prepared: Option<&PreparedRecord>,
    ) -> Result<(), RecordError> {
        let path = || self.folder(record.domid).join(RECORD);
        let bytes = encode(record, path)?;
        match prepared {
            Some(prepared) => {
                prepared.write_record(&bytes).map_err(|e| file_error("write", &path())(e))
            }
            None => write_new(&path(), &bytes),
        }
    }

    /// Replaces a record. A reader sees the old one or the new one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn replace(&self, record: &Record) -> Result<(), RecordError> {
        let folder = self.folder(record.domid);
        replace(&folder, RECORD, &encode(record, || folder.join(RECORD))?)
    }

    /// Reads a record. Returns `None` if there is none.
    ///
    /// # Errors
    /// The record is damaged, of another version or cannot be read.
    pub fn read(&self, domid: DomId) -> Result<Option<Record>, RecordError> {
        read(self.folder(domid).join(RECORD))
    }

    /// Removes a domain's folder, and its name if the name still belongs to it.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove(&self, domid: DomId, name: Option<&str>) -> Result<(), RecordError> {
        if let Some(name) = name
            && self.holder(name)? == Some(domid)
        {
            self.remove_name(name)?;
        }
        let folder = self.folder(domid);
        ignore_missing(fs::remove_dir_all(&folder)).map_err(file_error("remove", &folder))
    }

    /// Returns the domids that have a folder, in no particular order.
    ///
    /// # Errors
    /// The folder of the domains' folders exists and cannot be read.
    pub fn domids(&self) -> Result<Vec<DomId>, RecordError> {
        let names = file_names(&self.domains())?.into_iter();
        Ok(names.filter_map(|name| name.parse().ok().map(DomId)).collect())
    }
}

/// Reads a record. Returns `None` if the file does not exist, or was prepared and is not written
/// yet.
pub(super) fn read(path: PathBuf) -> Result<Option<Record>, RecordError> {
    let bytes = match fs::read(&path) {
        Ok(bytes) if bytes.len() <= MAX_UNWRITTEN => return Ok(None),
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error("read", &path)(error)),
    };
    stored::decode(&bytes).map(Some).map_err(|source| RecordError::Damaged { path, source })
}

fn encode_devices(attach: &Attach, path: impl FnOnce() -> PathBuf) -> Result<Vec<u8>, RecordError> {
    DeviceRecord::from(attach)
        .encode()
        .ok_or_else(|| RecordError::TooLong { path: path(), limit: MAX_RECORD })
}

/// Encodes a record that is to be written to `path`.
pub(super) fn encode(
    record: &Record,
    path: impl FnOnce() -> PathBuf,
) -> Result<Vec<u8>, RecordError> {
    stored::encode(record)
        .ok_or_else(|| RecordError::TooLong { path: path(), limit: stored::LIMIT })
}
