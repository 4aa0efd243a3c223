//! The files and folders of the records.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use noxs_control::Attach;
use noxs_control::record::DeviceRecord;
use xen::units::DomId;

use super::error::file_error;
use super::{PreparedRecord, Record, RecordError, stored};

/// Name of the file in a domain's folder that holds its [`Record`].
pub(super) const RECORD: &str = "record";

/// A file of at most this many bytes does not hold a record yet. The kernel makes a file longer after
/// it has copied what was written, so this also holds while a record replaces a prepared file.
pub(super) const MAX_NOTHING: usize = 1;

/// Where the records are.
pub const ROOT: &str = "/run/chaos";

/// The folder that all records are in.
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

    /// Writes the first record of a domain, into the file that was prepared for it, if one was.
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

    /// Reads a record. `None` if there is none.
    ///
    /// # Errors
    /// The record is damaged, of another version or cannot be read.
    pub fn read(&self, domid: DomId) -> Result<Option<Record>, RecordError> {
        read(self.folder(domid).join(RECORD))
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

pub(super) fn read(path: PathBuf) -> Result<Option<Record>, RecordError> {
    let bytes = match fs::read(&path) {
        // It was prepared and is not written yet.
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

pub(super) fn encode(
    record: &Record,
    path: impl FnOnce() -> PathBuf,
) -> Result<Vec<u8>, RecordError> {
    stored::encode(record).ok_or_else(|| RecordError::TooLong { path: path() })
}

/// Writes a file that is not there yet, in one piece: a reader sees nothing or all of it.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
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
