// SPDX-License-Identifier: GPL-3.0-or-later
//! The names of all guests, for a process that asks for them again and again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::time::{Duration, SystemTime};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use xen::units::DomId;

use super::error::{RecordError, file_error};
use super::fs::create_below;
use super::paths::Records;

/// A name's link.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// Its inode: on tmpfs, a link that replaces another one has a different inode. `None` if the link
    /// is to be read again.
    inode: Option<u64>,
    domid: DomId,
}

/// The names of guests, as the last [`refresh`](Self::refresh) found them.
#[derive(Debug, Default)]
pub struct NameTable {
    links: HashMap<String, Link>,
    /// When the folder had changed last, if that was long enough before it was read that no later change
    /// can have the same time.
    unchanged_since: Option<SystemTime>,
}

/// The kernel's clock for files has steps of 10 ms at most.
const STEP: Duration = Duration::from_millis(20);

/// How the names differ from those of the refresh before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NameChanges {
    /// Names that are new, or that another domain has now.
    pub added: Vec<(String, DomId)>,
    /// Names that are gone, or that another domain has now, with the domain that had them.
    pub removed: Vec<(String, DomId)>,
}

impl NameTable {
    /// Reads the names. Costs one look at their folder, of which nothing is read if it has not changed,
    /// and otherwise only the links that are new.
    ///
    /// # Errors
    /// The folder or a link exists and cannot be read.
    pub fn refresh(&mut self, records: &Records) -> Result<NameChanges, RecordError> {
        let folder = records.names_folder();
        let modified = fs::metadata(&folder).and_then(|metadata| metadata.modified()).ok();
        if modified.is_some() && modified == self.unchanged_since {
            return Ok(NameChanges::default());
        }
        let is_old = |at: &SystemTime| at.elapsed().is_ok_and(|passed| passed > STEP);
        self.unchanged_since = modified.filter(is_old);
        let (mut changes, mut found) = (NameChanges::default(), HashMap::new());
        found.reserve(self.links.len());
        match fs::read_dir(&folder) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(file_error("read", &folder))?;
                    let Ok(name) = entry.file_name().into_string() else { continue };
                    let inode = entry.ino();
                    let known = self.links.remove(&name);
                    if let Some(link) = known.filter(|link| link.inode == Some(inode)) {
                        found.insert(name, link);
                        continue;
                    }
                    // `None` if the name was freed meanwhile.
                    let holder = records.holder(&name)?;
                    if let Some(old) = known.filter(|old| Some(old.domid) != holder) {
                        changes.removed.push((name.clone(), old.domid));
                    }
                    if let Some(domid) = holder {
                        if known.is_none_or(|old| old.domid != domid) {
                            changes.added.push((name.clone(), domid));
                        }
                        found.insert(name, Link { inode: Some(inode), domid });
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(file_error("read", &folder)(error)),
        }
        let gone = std::mem::replace(&mut self.links, found);
        changes.removed.extend(gone.into_iter().map(|(name, link)| (name, link.domid)));
        Ok(changes)
    }

    /// Has the next refresh read the link of a name again, which may have been replaced.
    pub fn touched(&mut self, name: &str) {
        if let Some(link) = self.links.get_mut(name) {
            link.inode = None;
            self.unchanged_since = None;
        }
    }

    /// Returns all names and their domids, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, DomId)> {
        self.links.iter().map(|(name, link)| (name.as_str(), link.domid))
    }

    /// Returns the names by domid.
    #[must_use]
    pub fn by_domid(&self) -> HashMap<DomId, &str> {
        self.links.iter().map(|(name, link)| (link.domid, name.as_str())).collect()
    }
}

impl Records {
    /// Returns a non-blocking descriptor that is readable when a name was reserved or freed.
    ///
    /// # Errors
    /// The folder of names cannot be created or watched.
    pub fn watch_names(&self) -> Result<Inotify, RecordError> {
        let folder = self.names_folder();
        create_below(self.root(), &folder)?;
        let watch = || {
            let events = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            let flags =
                AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE;
            events.add_watch(&folder, flags)?;
            Ok(events)
        };
        watch().map_err(|errno: nix::errno::Errno| file_error("watch", &folder)(errno.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[(&str, u16)]) -> Vec<(String, DomId)> {
        names.iter().map(|(name, domid)| ((*name).to_owned(), DomId(*domid))).collect()
    }

    #[test]
    fn a_refresh_reports_new_names_freed_names_and_names_that_changed_hands() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::at(folder.path().to_owned());
        let mut table = NameTable::default();
        assert_eq!(table.refresh(&records).unwrap(), NameChanges::default(), "no folder yet");
        records.reserve_name("a", DomId(1), None).unwrap();
        records.reserve_name("b", DomId(2), None).unwrap();
        let mut changes = table.refresh(&records).unwrap();
        changes.added.sort();
        assert_eq!(changes, NameChanges { added: owned(&[("a", 1), ("b", 2)]), removed: vec![] });
        assert_eq!(table.refresh(&records).unwrap(), NameChanges::default());
        assert_eq!(table.by_domid(), HashMap::from([(DomId(1), "a"), (DomId(2), "b")]));

        records.remove_name("b").unwrap();
        // The new link is created before the old one is removed, so their inodes differ.
        records.reserve_name("c", DomId(3), None).unwrap();
        records.remove_name("a").unwrap();
        fs::rename(records.name_link("c"), records.name_link("a")).unwrap();
        let mut changes = table.refresh(&records).unwrap();
        changes.removed.sort();
        let removed = owned(&[("a", 1), ("b", 2)]);
        assert_eq!(changes, NameChanges { added: owned(&[("a", 3)]), removed });
        assert_eq!(table.by_domid(), HashMap::from([(DomId(3), "a")]));

        // A folder that has changed long ago is not read again.
        let folder = fs::File::open(records.names_folder()).unwrap();
        folder.set_modified(SystemTime::now() - 10 * STEP).unwrap();
        for _ in 0..2 {
            assert_eq!(table.refresh(&records).unwrap(), NameChanges::default());
        }
        assert!(table.unchanged_since.is_some());
        table.touched("a");
        assert_eq!(table.refresh(&records).unwrap(), NameChanges::default(), "it is the same");
        // Where inodes are reused at once, only a notice of the kernel shows this.
        records.remove_name("a").unwrap();
        records.reserve_name("a", DomId(4), None).unwrap();
        table.touched("a");
        let expected = NameChanges { added: owned(&[("a", 4)]), removed: owned(&[("a", 3)]) };
        assert_eq!(table.refresh(&records).unwrap(), expected);
    }
}
