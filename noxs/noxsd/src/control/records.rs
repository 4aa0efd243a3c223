// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads the domains that an earlier noxsd served from the records that toolstacks write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use daemon::chain::chain;
use nix::fcntl::OFlag;
use noxs_control::record::{self, DeviceRecord, MAX_RECORD};
use noxs_control::{Attach, CONSOLE_LOG, GUEST_RECORD_FILE, MAX_UNWRITTEN, RECORD_FILE};

use crate::console::ConsoleLog;

/// A domain, from its record.
#[derive(Debug)]
pub struct Recorded {
    /// The domain's devices.
    pub attach: Attach,
    /// The console's log, if the domain has a console.
    pub log: Option<ConsoleLog>,
    claim: Claim,
}

#[cfg(test)]
impl Recorded {
    /// Returns what a record without a console says.
    pub(crate) fn of(attach: Attach) -> Self {
        let claim = Claim { is_unconfirmed: false, since: SystemTime::UNIX_EPOCH };
        Self { attach, log: None, claim }
    }
}

/// Which of two domains with the same address was the first that an earlier noxsd accepted: the
/// smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    /// Whether the toolstack has not written its record of the guest yet. The guest has never run
    /// then, and the earlier noxsd may have refused its addresses.
    is_unconfirmed: bool,
    /// When the device record was written.
    since: SystemTime,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error("cannot read {RECORD_FILE}")]
    Read(#[source] io::Error),
    #[error("{RECORD_FILE} is too long: must be at most {MAX_RECORD} bytes")]
    TooLong,
    #[error("cannot decode {RECORD_FILE}")]
    Decode(#[source] record::RecordError),
    #[error("{RECORD_FILE} is the record of domain {0}")]
    AnotherDomain(u16),
    #[error("cannot open {CONSOLE_LOG}")]
    Log(#[source] io::Error),
    #[error("cannot use {CONSOLE_LOG}")]
    LogKind(#[source] crate::console::log::LogError),
}

/// Reads all records, including those of the previous version. Leaves out a record that cannot be
/// used, with a warning. The records are in the order in which the domains got their addresses, so
/// that no domain gets an address that a guest before it has.
pub fn read(folder: &Path) -> Vec<Recorded> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!("cannot read the records in {}: {error}", folder.display());
            }
            return Vec::new();
        }
    };
    let mut records = Vec::new();
    for entry in entries.flatten() {
        let Some(domid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        match read_one(&entry.path(), domid) {
            Ok(Some(recorded)) => records.push(recorded),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(
                    "domain {domid} has no console and no network until it is created again: {}",
                    chain(&error)
                );
            }
        }
    }
    records.sort_by_key(|recorded: &Recorded| recorded.claim);
    records
}

/// Reads one record. Returns `None` if the domain has no devices.
fn read_one(folder: &Path, domid: u16) -> Result<Option<Recorded>, RecordError> {
    let mut bytes = Vec::new();
    let since = match open(&folder.join(RECORD_FILE), OpenOptions::new().read(true)) {
        Ok(file) => {
            let since = file.metadata().and_then(|file| file.modified());
            let limit = MAX_RECORD as u64 + 1;
            file.take(limit).read_to_end(&mut bytes).and(since).map_err(RecordError::Read)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RecordError::Read(error)),
    };
    if bytes.len() > MAX_RECORD {
        return Err(RecordError::TooLong);
    }
    let attach = Attach::from(DeviceRecord::decode(&bytes).map_err(RecordError::Decode)?);
    if attach.id.domid != domid {
        return Err(RecordError::AnotherDomain(attach.id.domid));
    }
    let log = match attach.console {
        Some(_) => {
            let file = open(&folder.join(CONSOLE_LOG), OpenOptions::new().read(true).append(true))
                .map_err(RecordError::Log)?;
            Some(ConsoleLog::new(OwnedFd::from(file)).map_err(RecordError::LogKind)?)
        }
        None => None,
    };
    let is_confirmed = fs::symlink_metadata(folder.join(GUEST_RECORD_FILE))
        .is_ok_and(|file| file.len() > MAX_UNWRITTEN as u64);
    let claim = Claim { is_unconfirmed: !is_confirmed, since };
    Ok(Some(Recorded { attach, log, claim }))
}

/// Opens an existing file, without following a symbolic link or waiting for the other end of a
/// pipe.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::time::Duration;

    use noxs_control::{ConsoleDevice, DomainId};

    use noxs_control::record::OLDEST_VERSION;

    use super::*;

    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Self {
            let name = format!("noxsd-records-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn record(&self, folder: &str, domid: u16) -> PathBuf {
            let folder = self.0.join(folder);
            fs::create_dir_all(&folder).unwrap();
            let console = Some(ConsoleDevice { port: 1, ring: 8 });
            let id = DomainId { domid, handle: [1; 16] };
            let attach = Attach { id, console, vifs: Vec::new(), vbds: Vec::new() };
            fs::write(folder.join(RECORD_FILE), DeviceRecord::from(&attach).encode().unwrap())
                .unwrap();
            fs::write(folder.join(CONSOLE_LOG), "").unwrap();
            folder
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn invalid_records_are_left_out() {
        let folder = Temporary::new("mixed");
        folder.record("3", 3);
        folder.record("4", 5);
        folder.record("not-a-number", 6);
        let damaged = folder.record("7", 7);
        fs::write(damaged.join(RECORD_FILE), [record::RECORD_VERSION, 0xff]).unwrap();
        let long = folder.record("8", 8);
        fs::write(long.join(RECORD_FILE), vec![record::RECORD_VERSION; MAX_RECORD + 1]).unwrap();
        let linked = folder.record("9", 9);
        fs::remove_file(linked.join(CONSOLE_LOG)).unwrap();
        symlink("/etc/hostname", linked.join(CONSOLE_LOG)).unwrap();
        fs::create_dir(folder.0.join("10")).unwrap();

        let records = read(&folder.0);
        assert_eq!(records.iter().map(|r| r.attach.id.domid).collect::<Vec<_>>(), [3]);
        assert!(records[0].log.is_some());
    }

    #[test]
    fn domains_are_in_the_order_in_which_they_got_their_addresses() {
        let folder = Temporary::new("order");
        let write = |domid: u16, written: u64, record: Option<&[u8]>| {
            let folder = folder.record(&domid.to_string(), domid);
            let file = File::options().write(true).open(folder.join(RECORD_FILE)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(written)).unwrap();
            if let Some(record) = record {
                fs::write(folder.join(GUEST_RECORD_FILE), record).unwrap();
            }
        };
        // Being created, or never completed.
        write(3, 1, None);
        write(4, 2, Some(&[0; MAX_UNWRITTEN]));
        // Guests.
        write(5, 4, Some(b"record"));
        write(6, 3, Some(b"record"));
        let domids: Vec<_> = read(&folder.0).iter().map(|r| r.attach.id.domid).collect();
        assert_eq!(domids, [6, 5, 3, 4]);
    }

    #[test]
    fn a_record_of_the_previous_version_is_read() {
        let folder = Temporary::new("previous");
        let bare = folder.record("3", 3);
        // Version, domid, handle, no devices.
        let previous = [&[OLDEST_VERSION, 3][..], &[1; 16], &[0]].concat();
        fs::write(bare.join(RECORD_FILE), previous).unwrap();
        let records = read(&folder.0);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].attach.id, DomainId { domid: 3, handle: [1; 16] });
    }

    #[test]
    fn a_missing_folder_has_no_records() {
        assert!(read(Path::new("/nonexistent/records")).is_empty());
    }
}
