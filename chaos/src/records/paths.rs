// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the records are.

use std::path::{Path, PathBuf};

use xen::units::DomId;

use super::error::RecordError;
use super::fs::make_private;

/// The folder of all records.
pub const ROOT: &str = "/run/chaos";

/// Name of the file in a domain's folder that holds its [`Record`](super::Record).
pub(super) use noxs_control::GUEST_RECORD_FILE as RECORD;

/// The records of this host.
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
    /// Returns the records below another folder than [`ROOT`].
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Takes the rights of all users but root from the folders that an earlier chaos has created,
    /// whatever the umask was then. For a daemon's start.
    ///
    /// # Errors
    /// The mode of a folder cannot be changed.
    pub fn make_private(&self) -> Result<(), RecordError> {
        [self.domains(), self.names_folder(), self.restarts_folder()]
            .iter()
            .try_for_each(|folder| make_private(folder))
    }

    /// Returns the folder of all records.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder that contains the domains' folders.
    #[must_use]
    pub fn domains(&self) -> PathBuf {
        self.root.join("domains")
    }

    /// Returns a domain's folder.
    #[must_use]
    pub fn folder(&self, domid: DomId) -> PathBuf {
        self.root.join(format!("domains/{}", domid.0))
    }

    /// Returns the file that a domain's console output is written to.
    #[must_use]
    pub fn console_log(&self, domid: DomId) -> PathBuf {
        self.folder(domid).join(noxs_control::CONSOLE_LOG)
    }

    /// Returns the folder of names.
    pub(super) fn names_folder(&self) -> PathBuf {
        self.root.join("names")
    }

    /// Returns the link of a name.
    pub(super) fn name_link(&self, name: &str) -> PathBuf {
        self.root.join("names").join(name)
    }

    /// Returns the folder of pending restarts.
    pub(super) fn restarts_folder(&self) -> PathBuf {
        self.root.join("restarts")
    }
}

/// Returns the target of the link of a domain's name.
pub(super) fn name_target(domid: DomId) -> String {
    format!("../domains/{}", domid.0)
}
