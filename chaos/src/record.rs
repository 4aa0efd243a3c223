//! What dom0 remembers of a domain.
//!
//! ```text
//! /run/chaos/names/NAME          symbolic link to ../domains/DOMID; made exclusively, so a clash
//!                                of names costs one system call and no scan
//! /run/chaos/domains/DOMID/
//!     record                     this module's Record as JSON, written whole by rename
//!     devices                    what noxsd needs to attach the devices again (noxs::control)
//!     console.log                what the console printed, written by noxsd
//! ```
//!
//! What Xen knows (state, memory, CPU time) is asked of Xen and never kept here. A record bears the
//! domain's handle, so that a reused domid is never mistaken for its predecessor.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};
use noxs::control::{self, Attach, Rate};
use noxs::{Ipv4Config, MacAddr};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use xen::units::{DomId, DomainHandle, KiB};

use crate::config::{Action, DomainConfig, VifConfig};
use crate::daemon::wire::WireConfig;

/// Version of the record's format; another one is reported, not guessed at.
const VERSION: u32 = 1;

/// Name of the file in a domain's folder that holds its [`Record`].
const RECORD: &str = "record";

/// Where the records are.
pub const ROOT: &str = "/run/chaos";

/// What is remembered of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// The domain's number.
    pub domid: u16,
    /// Its handle, as a UUID.
    pub handle: String,
    /// Its name.
    pub name: String,
    /// The kernel it was made from.
    pub kernel: PathBuf,
    /// Its ramdisk.
    pub ramdisk: Option<PathBuf>,
    /// Its command line.
    pub cmdline: String,
    /// Memory it was given, in KiB.
    pub memory_kib: u64,
    /// vCPUs it was given.
    pub vcpus: u32,
    /// When it was made, in milliseconds after the Unix epoch.
    pub created_ms: u64,
    /// Frame of the device page.
    pub device_page_gfn: u64,
    /// Frame of the answer page.
    pub answer_page_gfn: u64,
    /// The guest's end of the sysctl event channel.
    pub sysctl_port: u32,
    /// Number of the newest sysctl request; 0 before the first.
    pub requests: u32,
    /// Whether it has a console.
    pub console: bool,
    /// Its network interfaces.
    pub vifs: Vec<VifRecord>,
    /// What is to happen when it powers off.
    pub on_poweroff: Action,
    /// What is to happen when it reboots.
    pub on_reboot: Action,
    /// What is to happen when it crashes.
    pub on_crash: Action,
}

/// What is remembered of a network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VifRecord {
    /// Its MAC address.
    pub mac: String,
    /// The bridge it is on.
    pub bridge: String,
    /// Its address and prefix length, if dom0 gave it one.
    pub ipv4: Option<String>,
    /// Its way to other networks.
    pub gateway: Option<Ipv4Addr>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// How many bytes it may send in how many microseconds, if that is limited.
    pub rate: Option<(u64, u64)>,
}

impl VifRecord {
    /// A record of an interface that got this address.
    #[must_use]
    pub fn new(mac: MacAddr, config: &VifConfig) -> Self {
        Self {
            mac: mac.to_string(),
            bridge: config.bridge.clone(),
            ipv4: config.ip.map(|ip| format!("{}/{}", ip.address, ip.prefix)),
            gateway: config.ip.and_then(|ip| ip.gateway),
            mtu: config.mtu,
            rate: config.rate.map(|rate| (rate.bytes, rate.interval_us)),
        }
    }

    /// The config it was made from. `None` if somebody has written something else into it.
    fn config(&self) -> Option<VifConfig> {
        let ip = match &self.ipv4 {
            None => None,
            Some(text) => {
                let (address, prefix) = text.split_once('/')?;
                let (address, prefix) = (address.parse().ok()?, prefix.parse().ok()?);
                Some(Ipv4Config { address, prefix, gateway: self.gateway })
            }
        };
        Some(VifConfig {
            mac: Some(self.mac.parse().ok()?),
            bridge: self.bridge.clone(),
            ip,
            mtu: self.mtu,
            rate: self.rate.map(|(bytes, interval_us)| Rate { bytes, interval_us }),
        })
    }
}

/// Why a record cannot be written or read.
#[derive(Debug, Error)]
pub enum RecordError {
    /// A file cannot be used.
    #[error("cannot {doing} {path}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The record is no record.
    #[error("the record {path} is damaged")]
    Damaged {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The record has another format.
    #[error("the record {path} has version {found}, this chaos knows {VERSION}")]
    Version {
        /// The record.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The name is taken.
    #[error("the name {name} is in use by domain {domid}; see chaos list")]
    NameInUse {
        /// The name.
        name: String,
        /// Who has it.
        domid: DomId,
    },
}

fn file_error<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> RecordError + use<'a> {
    move |source| RecordError::File { doing, path: path.to_owned(), source }
}

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

    /// Keeps the first record of a domain.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, record: &Record) -> Result<(), RecordError> {
        let path = self.folder(DomId(record.domid)).join(RECORD);
        write_new(&path, &encode(record, &path)?)
    }

    /// Replaces a record. A reader sees the old one or the new one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn replace(&self, record: &Record) -> Result<(), RecordError> {
        let folder = self.folder(DomId(record.domid));
        replace(&folder, RECORD, &encode(record, &folder.join(RECORD))?)
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

    /// The names that link to a domain. Walks all names: only for cleaning up after a crash.
    ///
    /// # Errors
    /// The folder of names cannot be read for another reason than that there is none.
    pub fn names_of(&self, domid: DomId) -> Result<Vec<String>, RecordError> {
        let path = self.root.join("names");
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(file_error("read", &path)(error)),
        };
        let mut names = Vec::new();
        for name in entries.filter_map(Result::ok).filter_map(|e| e.file_name().into_string().ok())
        {
            if self.holder(&name)? == Some(domid) {
                names.push(name);
            }
        }
        Ok(names)
    }
}

impl Record {
    /// A record of a domain made now from this config, without its other facts.
    #[must_use]
    pub fn new(domid: DomId, handle: DomainHandle, config: &DomainConfig) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            version: VERSION,
            domid: domid.0,
            handle: handle.to_string(),
            name: config.name.clone(),
            kernel: config.kernel.clone(),
            ramdisk: config.ramdisk.clone(),
            cmdline: config.cmdline.clone(),
            memory_kib: config.memory.0,
            vcpus: config.vcpus,
            created_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            device_page_gfn: 0,
            answer_page_gfn: 0,
            sysctl_port: 0,
            requests: 0,
            console: config.console,
            vifs: Vec::new(),
            on_poweroff: config.on_poweroff,
            on_reboot: config.on_reboot,
            on_crash: config.on_crash,
        }
    }

    /// The config that makes the same guest again, with the same addresses. `None` if somebody has
    /// written something else into the record.
    #[must_use]
    pub fn config(&self) -> Option<DomainConfig> {
        let config = DomainConfig {
            name: self.name.clone(),
            kernel: self.kernel.clone(),
            ramdisk: self.ramdisk.clone(),
            memory: KiB(self.memory_kib),
            vcpus: self.vcpus,
            cmdline: self.cmdline.clone(),
            console: self.console,
            vifs: self.vifs.iter().map(VifRecord::config).collect::<Option<_>>()?,
            on_poweroff: self.on_poweroff,
            on_reboot: self.on_reboot,
            on_crash: self.on_crash,
        };
        // The same checks as for a config that comes over the socket.
        DomainConfig::try_from(WireConfig::from(&config)).ok()
    }

    /// Whether this is the record of the domain with the handle.
    #[must_use]
    pub fn is_of(&self, handle: DomainHandle) -> bool {
        self.handle == handle.to_string()
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn encode(record: &Record, path: &Path) -> Result<Vec<u8>, RecordError> {
    serde_json::to_vec(record)
        .map_err(|source| RecordError::Damaged { path: path.to_owned(), source })
}

/// Writes a file that is not there yet, in one piece: a reader sees nothing or all of it.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(file_error("write", path))
}

/// Replaces a file so that a reader sees either all of the old one or all of the new one.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), RecordError> {
    let new = folder.join(format!("{name}.new"));
    let path = folder.join(name);
    ignore_missing(fs::remove_file(&new)).map_err(file_error("remove the stale", &new))?;
    write_new(&new, bytes)?;
    fs::rename(&new, &path).map_err(file_error("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_can_be_made_again_from_its_record() {
        let text = "name='web'\ntype='pvh'\nkernel='/k'\nramdisk='/r'\nmemory=4\nvcpus=2\n\
                    cmdline='a b'\non_crash='restart'\non_reboot='preserve'\n\
                    vif=['mac=00:16:3e:00:00:07,bridge=b,ip=10.0.0.2/24 10.0.0.1,mtu=900,rate=1MB/s']";
        let config = crate::config::parse_str("test", text, &[], true).unwrap().config;
        let mut record = Record::new(DomId(3), DomainHandle([1; 16]), &config);
        record.vifs = config.vifs.iter().map(|vif| VifRecord::new(vif.mac.unwrap(), vif)).collect();
        let stored: Record = serde_json::from_slice(&serde_json::to_vec(&record).unwrap()).unwrap();
        assert_eq!(stored, record);
        assert_eq!(stored.config(), Some(config));

        for spoil in [
            |record: &mut Record| record.memory_kib = 3,
            |record: &mut Record| record.vifs[0].mac = "x".into(),
            |record: &mut Record| record.vifs[0].ipv4 = Some("10.0.0.2".into()),
            |record: &mut Record| record.name = "../x".into(),
        ] {
            let mut record = stored.clone();
            spoil(&mut record);
            assert_eq!(record.config(), None);
        }
    }
}
