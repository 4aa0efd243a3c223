// SPDX-License-Identifier: GPL-3.0-or-later
//! The part of a record that is prepared with the shell, before a guest is asked for.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::unistd::linkat;
use noxs_control::MAX_UNWRITTEN;
use xen::units::DomId;

use super::error::{RecordError, file_error};
use super::fs::create_new;
use super::paths::{RECORD, Records, name_target};

/// Name of the link in a domain's folder that becomes its name.
const LINK: &str = "name";

/// Content of a prepared record file.
const PLACEHOLDER: [u8; MAX_UNWRITTEN] = [0];

/// The file of a domain's first record, and a link to its folder that does not have a name yet.
///
/// A new link takes an inode, for which the kernel sometimes has to allocate a page. It does so
/// while the shell is prepared, so a create is not delayed.
#[derive(Debug)]
pub struct PreparedRecord {
    record: File,
    /// The link itself, not its target.
    link: File,
}

impl PreparedRecord {
    /// Writes the record, in one piece: a reader sees the placeholder or all of it.
    ///
    /// # Errors
    /// As pwrite(2).
    pub(super) fn write_record(&self, bytes: &[u8]) -> io::Result<()> {
        self.record.write_all_at(bytes, 0)
    }

    /// Creates a hard link to the prepared link at a path.
    ///
    /// # Errors
    /// As link(2).
    pub(super) fn link(&self, path: &Path) -> io::Result<()> {
        Ok(linkat(&self.link, "", AT_FDCWD, path, AtFlags::AT_EMPTY_PATH)?)
    }
}

impl Records {
    /// Creates a domain's record file and a link for its name, before either is known.
    ///
    /// # Errors
    /// A file cannot be created.
    pub fn prepare_record(&self, domid: DomId) -> Result<PreparedRecord, RecordError> {
        let folder = self.folder(domid);
        let path = folder.join(RECORD);
        let record = create_new(&path).map_err(file_error("create", &path))?;
        // The placeholder makes the kernel allocate the file's first page, which the record
        // overwrites.
        (&record).write_all(&PLACEHOLDER).map_err(file_error("write", &path))?;

        let path = folder.join(LINK);
        symlink(name_target(domid), &path).map_err(file_error("create", &path))?;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags((OFlag::O_PATH | OFlag::O_NOFOLLOW).bits());
        let link = options.open(&path).map_err(file_error("open", &path))?;
        Ok(PreparedRecord { record, link })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_with_a_prepared_link_and_without() {
        let folder = tempfile::TempDir::new().unwrap();
        let records = Records::at(folder.path().to_owned());
        let [with, without] = [DomId(3), DomId(4)];
        records.make_folder(with).unwrap();
        let prepared = records.prepare_record(with).unwrap();
        for (name, domid, prepared) in [("a", with, Some(&prepared)), ("b", without, None)] {
            records.reserve_name(name, domid, prepared).unwrap();
            assert_eq!(records.holder(name).unwrap(), Some(domid));
        }
        for (domid, prepared) in [(with, Some(&prepared)), (without, None)] {
            let taken = records.reserve_name("b", domid, prepared);
            assert!(
                matches!(taken, Err(RecordError::NameInUse { domid: DomId(4), .. })),
                "{taken:?}"
            );
        }
        records.remove(with, Some("a")).unwrap();
        assert_eq!(records.names().unwrap(), [("b".to_owned(), without)]);
    }
}
