// SPDX-License-Identifier: GPL-3.0-or-later
//! Pending restarts: records of guests that have exited and that chaosd has yet to create again.

use std::fs;
use std::io;

use super::error::{RecordError, file_error};
use super::files::{encode, read};
use super::fs::{create_below, file_names, ignore_missing, write_new};
use super::paths::Records;
use super::record::Record;

impl Records {
    /// Writes the record of a guest that has exited, so that the guest is restarted even if this
    /// process is killed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record_restart(&self, record: &Record) -> Result<(), RecordError> {
        let folder = self.restarts_folder();
        let bytes = encode(record, || folder.join(record.name()))?;
        // The name of a guest never begins with a dot, so this file is not taken for a record.
        let new = folder.join(".new");
        let path = folder.join(record.name());
        create_below(self.root(), &folder)?;
        ignore_missing(fs::remove_file(&new)).map_err(file_error("remove the stale file", &new))?;
        write_new(&new, &bytes)?;
        fs::rename(&new, &path).map_err(file_error("write", &path))
    }

    /// Returns the record of a guest, if its restart is pending.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn pending_restart(&self, name: &str) -> Result<Option<Record>, RecordError> {
        read(self.restarts_folder().join(name))
    }

    /// Removes a pending restart, because the guest was created again or destroyed. Returns `false`
    /// if there was none.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn drop_restart(&self, name: &str) -> Result<bool, RecordError> {
        let path = self.restarts_folder().join(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(file_error("remove", &path)(error)),
        }
    }

    /// Returns the names of the guests whose restart is pending, in alphabetical order.
    ///
    /// # Errors
    /// The folder exists and cannot be read.
    pub fn restarts(&self) -> Result<Vec<String>, RecordError> {
        let mut names = file_names(&self.restarts_folder())?;
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use daemon::encoding::DecodeError;
    use xen::units::{DomId, DomainHandle};

    use super::super::{StoredError, stored};
    use super::*;

    #[test]
    fn a_restart_is_pending_until_it_is_dropped() {
        let folder = tempfile::TempDir::new().unwrap();
        let records = Records::at(folder.path().to_owned());
        assert_eq!(records.restarts().unwrap(), Vec::<String>::new());
        let config = "name='a'\ntype='pvh'\nkernel='/k'\nmemory=4";
        let config = crate::config::parse_str("test", config, &[], true).unwrap().config;
        let mut record = Record::new(DomId(3), DomainHandle([1; 16]), config);
        records.record_restart(&record).unwrap();
        record.domid = DomId(4);
        records.record_restart(&record).unwrap();
        assert_eq!(records.restarts().unwrap(), ["a"]);
        assert_eq!(records.pending_restart("a").unwrap(), Some(record));
        assert!(records.drop_restart("a").unwrap());
        assert!(!records.drop_restart("a").unwrap());
        assert_eq!(records.pending_restart("a").unwrap(), None);
    }

    #[test]
    fn a_pending_restart_that_is_damaged_or_of_another_version_is_reported() {
        let folder = tempfile::TempDir::new().unwrap();
        let records = Records::at(folder.path().to_owned());
        let restarts = folder.path().join("restarts");
        fs::create_dir(&restarts).unwrap();
        fs::write(restarts.join("a"), [stored::VERSION, 0]).unwrap();
        fs::write(restarts.join("b"), [99, 1, 2]).unwrap();
        // The process was killed while it wrote this one.
        fs::write(restarts.join(".new"), "{").unwrap();
        assert_eq!(records.restarts().unwrap(), ["a", "b"]);
        let fault = |name| match records.pending_restart(name) {
            Err(RecordError::Damaged { source, .. }) => source,
            other => panic!("{other:?}"),
        };
        assert_eq!(fault("a"), StoredError::Bytes(DecodeError::Malformed));
        assert_eq!(fault("b"), StoredError::Version { found: 99, newest: stored::VERSION });
    }
}
