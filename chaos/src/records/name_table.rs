// SPDX-License-Identifier: GPL-3.0-or-later
//! The names of all guests, for a process that asks for them again and again.

use std::collections::HashMap;
use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::Errno;
use xen::units::DomId;

use super::error::{RecordError, file_error};
use super::fs::create_below;
use super::paths::Records;

/// A name's link.
#[derive(Clone, Debug)]
struct Link {
    /// Its inode: on tmpfs, a link that replaces another one has a different inode.
    inode: u64,
    domid: DomId,
    name: Arc<str>,
    /// Whether it may have been replaced, so that it is to be read again.
    is_stale: bool,
}

/// The names of guests, as the last [`refresh`](Self::refresh) found them.
#[derive(Debug, Default)]
pub struct NameTable {
    /// Sorted by inode.
    links: Vec<Link>,
    /// The same by domid, sorted: indices in `links`.
    by_domid: Vec<(DomId, usize)>,
    /// When the folder had changed last, if that was long enough before it was read that no later change
    /// can have the same time.
    unchanged_since: Option<SystemTime>,
}

/// The kernel's clock for files has steps of 10 ms at most.
const STEP: Duration = Duration::from_millis(20);

/// Bytes of a folder's entries that are read at once.
const ENTRIES: usize = 32 * 1024;

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
        let unchanged_since = modified.filter(is_old);
        let mut links = Vec::with_capacity(self.links.len());
        let mut is_gone = vec![true; self.links.len()];
        let mut unknown = Vec::new();
        for_each_entry(&folder, |name, inode| {
            let found = self.links.binary_search_by_key(&inode, |link| link.inode).ok();
            let same = |index: &usize| *self.links[*index].name == *name;
            if let Some(index) = found.filter(same).filter(|index| !self.links[*index].is_stale) {
                is_gone[index] = false;
                links.push(self.links[index].clone());
            } else {
                unknown.push((name.to_owned(), inode));
            }
        })
        .map_err(|error| file_error("read", &folder)(error.into()))?;
        let gone = self.links.iter().zip(is_gone).filter(|(_, is_gone)| *is_gone);
        let mut gone: HashMap<_, _> = gone.map(|(link, _)| (&*link.name, link.domid)).collect();
        let mut changes = NameChanges::default();
        for (name, inode) in unknown {
            // `None` if the name was freed meanwhile.
            let holder = records.holder(&name)?;
            let before = gone.remove(&*name);
            if let Some(domid) = before.filter(|domid| Some(*domid) != holder) {
                changes.removed.push((name.clone(), domid));
            }
            let Some(domid) = holder else { continue };
            if before != Some(domid) {
                changes.added.push((name.clone(), domid));
            }
            links.push(Link { inode, domid, name: name.into(), is_stale: false });
        }
        changes.removed.extend(gone.into_iter().map(|(name, domid)| (name.to_owned(), domid)));
        links.sort_unstable_by_key(|link| link.inode);
        self.by_domid.clear();
        self.by_domid.extend(links.iter().enumerate().map(|(index, link)| (link.domid, index)));
        self.by_domid.sort_unstable();
        (self.links, self.unchanged_since) = (links, unchanged_since);
        Ok(changes)
    }

    /// Has the next refresh read the link of a name again, which may have been replaced.
    pub fn touched(&mut self, name: &str) {
        if let Some(link) = self.links.iter_mut().find(|link| *link.name == *name) {
            link.is_stale = true;
            self.unchanged_since = None;
        }
    }

    /// Returns all names and their domids, in the order of the domids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, DomId)> {
        self.by_domid.iter().map(|(domid, index)| (&*self.links[*index].name, *domid))
    }

    /// Returns the name of a domain.
    #[must_use]
    pub fn of(&self, domid: DomId) -> Option<&Arc<str>> {
        let found = self.by_domid.binary_search_by_key(&domid, |(domid, _)| *domid).ok()?;
        Some(&self.links[self.by_domid[found].1].name)
    }
}

/// Calls `each` with the name and the inode of each entry of a folder. A folder that does not exist has none.
/// Unlike the standard library's reader of folders, this allocates nothing for an entry. An entry that is
/// not UTF-8 names no guest, and is left out.
fn for_each_entry(folder: &Path, mut each: impl FnMut(&str, u64)) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = match openat(CWD, folder, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        folder => folder?,
    };
    let mut buffer = vec![MaybeUninit::uninit(); ENTRIES];
    let mut entries = RawDir::new(folder, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => each(name, entry.ino()),
        }
    }
    Ok(())
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
        assert_eq!(table.iter().collect::<Vec<_>>(), [("a", DomId(1)), ("b", DomId(2))]);
        assert_eq!(table.of(DomId(2)).map(|name| &**name), Some("b"));
        assert_eq!(table.of(DomId(3)), None);

        records.remove_name("b").unwrap();
        // The new link is created before the old one is removed, so their inodes differ.
        records.reserve_name("c", DomId(3), None).unwrap();
        records.remove_name("a").unwrap();
        fs::rename(records.name_link("c"), records.name_link("a")).unwrap();
        let mut changes = table.refresh(&records).unwrap();
        changes.removed.sort();
        let removed = owned(&[("a", 1), ("b", 2)]);
        assert_eq!(changes, NameChanges { added: owned(&[("a", 3)]), removed });
        assert_eq!(table.iter().collect::<Vec<_>>(), [("a", DomId(3))]);

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
