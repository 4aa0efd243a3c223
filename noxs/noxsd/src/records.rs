//! The domains that an earlier noxsd served, from the records that toolstacks keep.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use noxs_control::encoding::DecodeError;
use noxs_control::{Attach, CONSOLE_LOG, MAX_PACKET, RECORD_FILE};

use crate::console::ConsoleLog;

/// A domain as its record tells.
#[derive(Debug)]
pub struct Recorded {
    /// Its devices.
    pub attach: Attach,
    /// The console's log, if there is a console.
    pub log: Option<ConsoleLog>,
}

/// Why a record is of no use.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error("its {RECORD_FILE} cannot be read")]
    Read(#[source] io::Error),
    #[error("its {RECORD_FILE} is longer than {MAX_PACKET} bytes")]
    TooLong,
    #[error("its {RECORD_FILE} is damaged")]
    Damaged(#[source] DecodeError),
    #[error("it is about domain {0}")]
    AnotherDomain(u16),
    #[error("its {CONSOLE_LOG} cannot be opened")]
    Log(#[source] io::Error),
    #[error("its {CONSOLE_LOG} is no log")]
    LogKind(#[source] crate::console::log::LogError),
}

/// Reads all records. What is damaged is left out, with a warning.
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
                let cause = std::error::Error::source(&error);
                let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
                tracing::warn!("the record of domain {domid} is left out: {error}{cause}");
            }
        }
    }
    records
}

/// `None` if the domain has no devices.
fn read_one(folder: &Path, domid: u16) -> Result<Option<Recorded>, RecordError> {
    let mut packet = Vec::new();
    match open(&folder.join(RECORD_FILE), OpenOptions::new().read(true)) {
        Ok(file) => {
            let limit = MAX_PACKET as u64 + 1;
            file.take(limit).read_to_end(&mut packet).map_err(RecordError::Read)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RecordError::Read(error)),
    }
    if packet.len() > MAX_PACKET {
        return Err(RecordError::TooLong);
    }
    let attach: Attach = noxs_control::decode(&packet).map_err(RecordError::Damaged)?;
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
    Ok(Some(Recorded { attach, log }))
}

/// Opens a file that is there; a link is not followed and a pipe does not make us wait.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use noxs_control::{ConsoleDevice, DomainId};

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
            let attach = Attach { id, console, vifs: Vec::new() };
            fs::write(folder.join(RECORD_FILE), noxs_control::encode(&attach)).unwrap();
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
    fn good_records_are_read_and_bad_ones_left_out() {
        let folder = Temporary::new("mixed");
        folder.record("3", 3);
        folder.record("4", 5);
        folder.record("not-a-number", 6);
        let damaged = folder.record("7", 7);
        fs::write(damaged.join(RECORD_FILE), [noxs_control::PROTOCOL, 0xff]).unwrap();
        let long = folder.record("8", 8);
        fs::write(long.join(RECORD_FILE), vec![noxs_control::PROTOCOL; MAX_PACKET + 1]).unwrap();
        let linked = folder.record("9", 9);
        fs::remove_file(linked.join(CONSOLE_LOG)).unwrap();
        symlink("/etc/hostname", linked.join(CONSOLE_LOG)).unwrap();
        fs::create_dir(folder.0.join("10")).unwrap();

        let records = read(&folder.0);
        assert_eq!(records.iter().map(|r| r.attach.id.domid).collect::<Vec<_>>(), [3]);
        assert!(records[0].log.is_some());
    }

    #[test]
    fn no_folder_is_no_record() {
        assert!(read(Path::new("/nonexistent/records")).is_empty());
    }
}
