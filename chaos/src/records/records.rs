//! The records' files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use noxs_control::Attach;
use noxs_control::record::DeviceRecord;
use xen::units::DomId;

use super::error::file_error;
use super::{Ahead, Record, RecordError, stored};

/// Name of the file in a domain's folder that holds its [`Record`].
pub(super) const RECORD: &str = "record";

/// A file of so many bytes holds no record yet. The kernel makes a file longer after it has copied
/// what was written, so this also holds while one is written over what was there ahead.
pub(super) const MAX_NOTHING: usize = 1;

/// Where the records are.
pub const ROOT: &str = "/run/chaos";

/// The records' place.
#[derive(Clone, Debug)]
pub struct Records {
    pub(super) root: PathBuf,
}

impl Default for Records {
    fn default() -> Self {
        Self { root: PathBuf::from(ROOT) }
    }
}

impl Records {
    /// Records below another folder.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where the domains' folders are.
    #[must_use]
    pub fn domains(&self) -> PathBuf {
        self.root.join("domains")
    }

    /// A domain's folder.
    #[must_use]
    pub fn folder(&self, domid: DomId) -> PathBuf {
        self.root.join(format!("domains/{}", domid.0))
    }

    /// The file a domain's console output goes to.
    #[must_use]
    pub fn console_log(&self, domid: DomId) -> PathBuf {
        self.folder(domid).join(noxs_control::CONSOLE_LOG)
    }

    /// Makes a domain's folder. That of a predecessor with the same domid is emptied: Xen has given
    /// the number away, so that one is gone.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn make_folder(&self, domid: DomId) -> Result<(), RecordError> {
        let folder = self.folder(domid);
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&folder).map_err(file_error("make the folder", &folder))?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir_all(&folder).map_err(file_error("remove the stale", &folder))?;
                fs::create_dir(&folder).map_err(file_error("make the folder", &folder))?;
            }
            Err(error) => return Err(file_error("make the folder", &folder)(error)),
        }
        Ok(())
    }

    /// Makes the console's log.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create_console_log(&self, domid: DomId) -> Result<File, RecordError> {
        let path = self.console_log(domid);
        OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o640)
            .open(&path)
            .map_err(file_error("make", &path))
    }

    /// Keeps what `noxsd` needs to attach the domain's devices again.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_devices(&self, attach: &Attach) -> Result<(), RecordError> {
        let path = self.folder(DomId(attach.id.domid)).join(noxs_control::RECORD_FILE);
        write_new(&path, &DeviceRecord::from(attach).encode())
    }

    /// Replaces what [`write_devices`](Self::write_devices) has kept.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn replace_devices(&self, attach: &Attach) -> Result<(), RecordError> {
        let folder = self.folder(DomId(attach.id.domid));
        replace(&folder, noxs_control::RECORD_FILE, &DeviceRecord::from(attach).encode())
    }

    /// Forgets the devices of a domain that keeps its record: a restarted `noxsd` is not to attach
    /// them again.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn forget_devices(&self, domid: DomId) -> Result<(), RecordError> {
        let path = self.folder(domid).join(noxs_control::RECORD_FILE);
        ignore_missing(fs::remove_file(&path)).map_err(file_error("remove", &path))
    }

    /// Keeps the first record of a domain, in the file that was made for it, if one was.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, record: &Record, ahead: Option<&Ahead>) -> Result<(), RecordError> {
        let path = || self.folder(record.domid).join(RECORD);
        let bytes = encode(record, path)?;
        match ahead {
            Some(ahead) => ahead.write_record(&bytes).map_err(|e| file_error("write", &path())(e)),
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

    /// Reads a record. `None` if there is none.
    ///
    /// # Errors
    /// The record is damaged, of another version or cannot be read.
    pub fn read(&self, domid: DomId) -> Result<Option<Record>, RecordError> {
        read(self.folder(domid).join(RECORD))
    }

    /// Promises that a guest that has ended is made again, whatever happens to this process.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn promise_restart(&self, record: &Record) -> Result<(), RecordError> {
        let folder = self.restarts_folder();
        let bytes = encode(record, || folder.join(record.name()))?;
        // A name has no dot in front: what is not finished is told by that.
        let new = folder.join(".new");
        let path = folder.join(record.name());
        fs::create_dir_all(&folder).map_err(file_error("make the folder", &folder))?;
        ignore_missing(fs::remove_file(&new)).map_err(file_error("remove the stale", &new))?;
        write_new(&new, &bytes)?;
        fs::rename(&new, &path).map_err(file_error("write", &path))
    }

    /// The record of a guest that is to be made again, if there is such a promise.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn promised_restart(&self, name: &str) -> Result<Option<Record>, RecordError> {
        read(self.restarts_folder().join(name))
    }

    /// The promise is kept, or nobody wants it any more. `false` if there was none.
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

    /// Names of the guests that are to be made again, in order.
    ///
    /// # Errors
    /// The folder cannot be read for another reason than that there is none.
    pub fn restarts(&self) -> Result<Vec<String>, RecordError> {
        let mut names = file_names(&self.restarts_folder())?;
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        Ok(names)
    }

    fn restarts_folder(&self) -> PathBuf {
        self.root.join("restarts")
    }

    /// Keeps other processes from changing a domain's record until the lock is dropped.
    ///
    /// # Errors
    /// The folder is not there or cannot be locked.
    pub fn lock(&self, domid: DomId) -> Result<Flock<File>, RecordError> {
        let folder = self.folder(domid);
        let file = File::open(&folder).map_err(file_error("open", &folder))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| file_error("lock", &folder)(errno.into()))
    }

    /// Forgets a domain: its folder, and its name if that is still its own.
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

    /// Domids that have a folder, in no order.
    ///
    /// # Errors
    /// The folder of folders cannot be read for another reason than that there is none.
    pub fn domids(&self) -> Result<Vec<DomId>, RecordError> {
        let names = file_names(&self.domains())?.into_iter();
        Ok(names.filter_map(|name| name.parse().ok().map(DomId)).collect())
    }
}

/// What a folder contains, as far as it is text; nothing if there is no such folder.
pub(super) fn file_names(folder: &Path) -> Result<Vec<String>, RecordError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error("read", folder)(error)),
    };
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

fn read(path: PathBuf) -> Result<Option<Record>, RecordError> {
    let bytes = match fs::read(&path) {
        // It is still to be written.
        Ok(bytes) if bytes.len() <= MAX_NOTHING => return Ok(None),
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error("read", &path)(error)),
    };
    stored::decode(&bytes).map(Some).map_err(|source| RecordError::Damaged { path, source })
}

pub(super) fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn encode(record: &Record, path: impl FnOnce() -> PathBuf) -> Result<Vec<u8>, RecordError> {
    stored::encode(record).ok_or_else(|| RecordError::TooLong { path: path() })
}

/// Writes a file that is not there yet, in one piece: a reader sees nothing or all of it.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    create_new(path).and_then(|mut file| file.write_all(bytes)).map_err(file_error("write", path))
}

pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)
}

/// Replaces a file so that a reader sees either all of the old one or all of the new one.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), RecordError> {
    let new = folder.join(format!("{name}.new"));
    let path = folder.join(name);
    // A process that was killed may have left one.
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

#[cfg(test)]
mod tests {
    use noxs_control::encoding::DecodeError;
    use xen::units::DomainHandle;

    use super::super::StoredError;
    use super::*;

    #[test]
    fn a_restart_is_promised_until_it_is_dropped() {
        let folder = tempfile::TempDir::new().unwrap();
        let records = Records::at(folder.path().to_owned());
        assert_eq!(records.restarts().unwrap(), Vec::<String>::new());
        let config = "name='a'\ntype='pvh'\nkernel='/k'\nmemory=4";
        let config = crate::config::parse_str("test", config, &[], true).unwrap().config;
        let mut record = Record::new(DomId(3), DomainHandle([1; 16]), config);
        records.promise_restart(&record).unwrap();
        record.domid = DomId(4);
        records.promise_restart(&record).unwrap();
        assert_eq!(records.restarts().unwrap(), ["a"]);
        assert_eq!(records.promised_restart("a").unwrap(), Some(record));
        assert!(records.drop_restart("a").unwrap());
        assert!(!records.drop_restart("a").unwrap());
        assert_eq!(records.promised_restart("a").unwrap(), None);
    }

    #[test]
    fn a_promise_that_is_damaged_or_of_another_version_is_told() {
        let folder = tempfile::TempDir::new().unwrap();
        let records = Records::at(folder.path().to_owned());
        let restarts = folder.path().join("restarts");
        fs::create_dir(&restarts).unwrap();
        fs::write(restarts.join("a"), [stored::VERSION, 0]).unwrap();
        fs::write(restarts.join("b"), [99, 1, 2]).unwrap();
        // One was being written when the process was killed.
        fs::write(restarts.join(".new"), "{").unwrap();
        assert_eq!(records.restarts().unwrap(), ["a", "b"]);
        let fault = |name| match records.promised_restart(name) {
            Err(RecordError::Damaged { source, .. }) => source,
            other => panic!("{other:?}"),
        };
        assert_eq!(fault("a"), StoredError::Bytes(DecodeError::Malformed));
        assert_eq!(fault("b"), StoredError::Version { found: 99 });
    }
}
