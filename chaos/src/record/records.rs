//! The records' files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, Flock, FlockArg, fallocate};
use noxs::control::{self, Attach};
use serde::Deserialize;
use xen::units::DomId;

use super::error::file_error;
use super::{Record, RecordError, VERSION};

/// Name of the file in a domain's folder that holds its [`Record`].
const RECORD: &str = "record";

/// Most records are shorter, in bytes.
const USUAL_SIZE: i64 = 4096;

/// Where the records are.
pub const ROOT: &str = "/run/chaos";

/// The records' place.
#[derive(Clone, Debug)]
pub struct Records {
    root: PathBuf,
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
        self.folder(domid).join(control::CONSOLE_LOG)
    }

    fn name_link(&self, name: &str) -> PathBuf {
        self.root.join("names").join(name)
    }

    /// Who has a name: the domid that its link names. Whether that domain still lives is another
    /// question.
    ///
    /// # Errors
    /// The link cannot be read for another reason than that there is none.
    pub fn holder(&self, name: &str) -> Result<Option<DomId>, RecordError> {
        let path = self.name_link(name);
        match fs::read_link(&path) {
            Ok(target) => {
                let domid = target.file_name().and_then(|name| name.to_str()?.parse().ok());
                Ok(domid.map(DomId))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error("read", &path)(error)),
        }
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

    /// Takes a name for a domain.
    ///
    /// # Errors
    /// [`RecordError::NameInUse`] if it is taken.
    pub fn reserve_name(&self, name: &str, domid: DomId) -> Result<(), RecordError> {
        let link = self.name_link(name);
        let target = format!("../domains/{}", domid.0);
        let mut made = symlink(&target, &link);
        if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            let names = self.root.join("names");
            fs::create_dir_all(&names).map_err(file_error("make the folder", &names))?;
            made = symlink(&target, &link);
        }
        made.map_err(|error| match (error.kind(), self.holder(name)) {
            (io::ErrorKind::AlreadyExists, Ok(Some(holder))) => {
                RecordError::NameInUse { name: name.to_owned(), domid: holder }
            }
            _ => file_error("reserve the name", &link)(error),
        })
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
        let path = self.folder(DomId(attach.id.domid)).join(control::RECORD_FILE);
        write_new(&path, &control::encode(attach))
    }

    /// Replaces what [`write_devices`](Self::write_devices) has kept.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn replace_devices(&self, attach: &Attach) -> Result<(), RecordError> {
        let folder = self.folder(DomId(attach.id.domid));
        replace(&folder, control::RECORD_FILE, &control::encode(attach))
    }

    /// Forgets the devices of a domain that keeps its record: a restarted `noxsd` is not to attach
    /// them again.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn forget_devices(&self, domid: DomId) -> Result<(), RecordError> {
        let path = self.folder(domid).join(control::RECORD_FILE);
        ignore_missing(fs::remove_file(&path)).map_err(file_error("remove", &path))
    }

    /// Makes the file of a domain's first record ahead of it. While it is empty there is no record.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create_record(&self, domid: DomId) -> Result<File, RecordError> {
        let path = self.folder(domid).join(RECORD);
        let file = create_new(&path).map_err(file_error("make", &path))?;
        // Its memory, too. Where that cannot be had now, the write may find it or says so.
        let _ = fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, USUAL_SIZE);
        Ok(file)
    }

    /// Keeps the first record of a domain, in the file that was made for it, if one was.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, record: &Record, file: Option<&File>) -> Result<(), RecordError> {
        let path = || self.folder(DomId(record.domid)).join(RECORD);
        let bytes = encode(record, path)?;
        match file {
            Some(mut file) => file.write_all(&bytes).map_err(|e| file_error("write", &path())(e)),
            None => write_new(&path(), &bytes),
        }
    }

    /// Replaces a record. A reader sees the old one or the new one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn replace(&self, record: &Record) -> Result<(), RecordError> {
        let folder = self.folder(DomId(record.domid));
        replace(&folder, RECORD, &encode(record, || folder.join(RECORD))?)
    }

    /// Reads a record. `None` if there is none.
    ///
    /// # Errors
    /// The record is damaged, of another version or cannot be read.
    pub fn read(&self, domid: DomId) -> Result<Option<Record>, RecordError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let path = self.folder(domid).join(RECORD);
        let bytes = match fs::read(&path) {
            // It is being written.
            Ok(bytes) if bytes.is_empty() => return Ok(None),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file_error("read", &path)(error)),
        };
        let damaged = |source| RecordError::Damaged { path: path.clone(), source };
        let Version { version } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if version != VERSION {
            return Err(RecordError::Version { path, found: version });
        }
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
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

    /// Frees a name.
    ///
    /// # Errors
    /// The link cannot be removed.
    pub fn remove_name(&self, name: &str) -> Result<(), RecordError> {
        let link = self.name_link(name);
        ignore_missing(fs::remove_file(&link)).map_err(file_error("remove", &link))
    }

    /// Domids that have a folder, in no order.
    ///
    /// # Errors
    /// The folder of folders cannot be read for another reason than that there is none.
    pub fn domids(&self) -> Result<Vec<DomId>, RecordError> {
        let path = self.domains();
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(file_error("read", &path)(error)),
        };
        let domid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok().map(DomId);
        Ok(entries.filter_map(Result::ok).filter_map(domid).collect())
    }

    /// All names, each with the domid that it links to. Walks all names: only for cleaning up after
    /// a crash.
    ///
    /// # Errors
    /// The folder of names cannot be read for another reason than that there is none.
    pub fn names(&self) -> Result<Vec<(String, DomId)>, RecordError> {
        let path = self.root.join("names");
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(file_error("read", &path)(error)),
        };
        let mut names = Vec::new();
        for name in entries.filter_map(Result::ok).filter_map(|e| e.file_name().into_string().ok())
        {
            if let Some(domid) = self.holder(&name)? {
                names.push((name, domid));
            }
        }
        Ok(names)
    }

    /// The names that link to a domain. Walks all names, too.
    ///
    /// # Errors
    /// As [`names`](Self::names).
    pub fn names_of(&self, domid: DomId) -> Result<Vec<String>, RecordError> {
        let names = self.names()?.into_iter();
        Ok(names.filter(|(_, holder)| *holder == domid).map(|(name, _)| name).collect())
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn encode(record: &Record, path: impl FnOnce() -> PathBuf) -> Result<Vec<u8>, RecordError> {
    let mut bytes = Vec::with_capacity(1024);
    serde_json::to_writer(&mut bytes, record)
        .map_err(|source| RecordError::Damaged { path: path(), source })?;
    Ok(bytes)
}

/// Writes a file that is not there yet, in one piece: a reader sees nothing or all of it.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    create_new(path).and_then(|mut file| file.write_all(bytes)).map_err(file_error("write", path))
}

fn create_new(path: &Path) -> io::Result<File> {
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
