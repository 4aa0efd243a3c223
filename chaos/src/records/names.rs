// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of guests: links to their domains' folders.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;

use xen::units::DomId;

use super::error::{RecordError, file_error};
use super::fs::{create_below, file_names, ignore_missing};
use super::paths::{Records, name_target};
use super::prepared::PreparedRecord;

impl Records {
    /// Returns the domid that has a name, which may be that of a domain that is gone.
    ///
    /// # Errors
    /// The link of the name exists and cannot be read.
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

    /// Reserves a name for a domain, with the link that was prepared for it, if there is one.
    ///
    /// # Errors
    /// [`RecordError::NameInUse`] if a domain has the name.
    pub fn reserve_name(
        &self,
        name: &str,
        domid: DomId,
        prepared: Option<&PreparedRecord>,
    ) -> Result<(), RecordError> {
        let link = self.name_link(name);
        let mut linked = match prepared {
            Some(prepared) => prepared.link(&link),
            None => symlink(name_target(domid), &link),
        };
        // Either the folder does not exist, or this process lacks CAP_DAC_READ_SEARCH and may not
        // link a file that it holds open: link(2) then fails with ENOENT, too. A new link serves in
        // both cases.
        if linked.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            create_below(self.root(), &self.names_folder())?;
            linked = symlink(name_target(domid), &link);
        }
        linked.map_err(|error| match (error.kind(), self.holder(name)) {
            (io::ErrorKind::AlreadyExists, Ok(Some(holder))) => {
                RecordError::NameInUse { name: name.to_owned(), domid: holder }
            }
            _ => file_error("reserve the name", &link)(error),
        })
    }

    /// Frees a name.
    ///
    /// # Errors
    /// The link cannot be removed.
    pub fn remove_name(&self, name: &str) -> Result<(), RecordError> {
        let link = self.name_link(name);
        ignore_missing(fs::remove_file(&link)).map_err(file_error("remove", &link))
    }

    /// Returns all names, each with the domid that it links to. Reads every link, so it is only for
    /// cleaning up after a crash.
    ///
    /// # Errors
    /// The folder of names exists and cannot be read.
    pub fn names(&self) -> Result<Vec<(String, DomId)>, RecordError> {
        let mut names = Vec::new();
        for name in file_names(&self.names_folder())? {
            if let Some(domid) = self.holder(&name)? {
                names.push((name, domid));
            }
        }
        Ok(names)
    }

    /// Returns the domains whose names are `NAME-NUMBER`, which a guest called `NAME` may have had
    /// before it was renamed. Reads only the links of these names.
    ///
    /// # Errors
    /// As [`names`](Self::names).
    pub fn copies(&self, name: &str) -> Result<Vec<DomId>, RecordError> {
        let is_copy = |other: &str| {
            let number = other.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        let mut domids = Vec::new();
        for other in file_names(&self.names_folder())?.into_iter().filter(|name| is_copy(name)) {
            domids.extend(self.holder(&other)?);
        }
        Ok(domids)
    }

    /// Returns the names that link to a domain. Reads every link, as [`names`](Self::names) does.
    ///
    /// # Errors
    /// As [`names`](Self::names).
    pub fn names_of(&self, domid: DomId) -> Result<Vec<String>, RecordError> {
        let names = self.names()?.into_iter();
        Ok(names.filter(|(_, holder)| *holder == domid).map(|(name, _)| name).collect())
    }
}
