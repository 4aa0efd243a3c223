//! The part of a record that is prepared with the shell, before a guest is asked for.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::unistd::linkat;
use xen::units::DomId;

use super::error::file_error;
use super::files::{MAX_NOTHING, RECORD, create_new};
use super::names::target;
use super::{RecordError, Records};

/// Name of the link in a domain's folder that becomes its name.
const LINK: &str = "name";

/// What the file of a record holds before the record.
const PLACEHOLDER: [u8; MAX_NOTHING] = [0];

/// The file of a domain's first record, and a link to its folder that bears no name yet.
///
/// A new link costs an inode, for which the kernel now and then needs another page. Prepared with the
/// shell, that does not delay a create.
#[derive(Debug)]
pub struct PreparedRecord {
    record: File,
    /// The link itself, not what it leads to.
    link: File,
}

impl PreparedRecord {
    /// Writes the record, in one piece: a reader sees nothing yet or all of it.
    ///
    /// # Errors
    /// As pwrite(2).
    pub(super) fn write_record(&self, bytes: &[u8]) -> io::Result<()> {
        self.record.write_all_at(bytes, 0)
    }

    /// Gives the link a path.
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
    /// A file cannot be made.
    pub fn prepare_record(&self, domid: DomId) -> Result<PreparedRecord, RecordError> {
        let folder = self.folder(domid);
        let path = folder.join(RECORD);
        let record = create_new(&path).map_err(file_error("make", &path))?;
        // With its first page, which the record will overwrite.
        (&record).write_all(&PLACEHOLDER).map_err(file_error("write", &path))?;

        let path = folder.join(LINK);
        symlink(target(domid), &path).map_err(file_error("make", &path))?;
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
