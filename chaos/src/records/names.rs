//! Names of guests: links to their domains' folders.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use xen::units::DomId;

use super::error::file_error;
use super::files::{file_names, ignore_missing};
use super::{PreparedRecord, RecordError, Records};

/// What the link of a domain's name leads to.
pub(super) fn target(domid: DomId) -> String {
    format!("../domains/{}", domid.0)
}

impl Records {
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

    /// Reserves a name for a domain, with the link that was prepared for it, if one was.
    ///
    /// # Errors
    /// [`RecordError::NameInUse`] if it is taken.
    pub fn reserve_name(
        &self,
        name: &str,
        domid: DomId,
        prepared: Option<&PreparedRecord>,
    ) -> Result<(), RecordError> {
        let link = self.name_link(name);
        let mut made = match prepared {
            Some(prepared) => prepared.link(&link),
            None => symlink(target(domid), &link),
        };
        // The kernel says the same to a process that lacks CAP_DAC_READ_SEARCH and may not link what
        // it holds open (link(2)): a link of its own does as well.
        if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            let names = self.root.join("names");
            fs::create_dir_all(&names).map_err(file_error("make the folder", &names))?;
            made = symlink(target(domid), &link);
        }
        made.map_err(|error| match (error.kind(), self.holder(name)) {
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

    /// All names, each with the domid that it links to. Walks all names: only for cleaning up after
    /// a crash.
    ///
    /// # Errors
    /// The folder of names cannot be read for another reason than that there is none.
    pub fn names(&self) -> Result<Vec<(String, DomId)>, RecordError> {
        let mut names = Vec::new();
        for name in file_names(&self.root.join("names"))? {
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
