//! What can go wrong with a record.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use xen::units::DomId;

use super::VERSION;

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

/// Puts what was tried before the system's answer.
pub(super) fn file_error<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> RecordError + use<'a> {
    move |source| RecordError::File { doing, path: path.to_owned(), source }
}
