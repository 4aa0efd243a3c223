//! What can go wrong with a record.

use std::io;
use std::path::{Path, PathBuf};

use noxs_control::encoding::DecodeError;
use thiserror::Error;
use xen::units::DomId;

use super::stored::VERSION;
use crate::config::EncodedError;

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
    #[error("the record {path} cannot be used")]
    Damaged {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: StoredError,
    },
    /// The record is longer than any can be.
    #[error("the record {path} would be too long")]
    TooLong {
        /// The record.
        path: PathBuf,
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

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoredError {
    /// It has another format.
    #[error("it has version {found}, this chaos reads {VERSION} and the version before")]
    Version {
        /// Its version.
        found: u8,
    },
    /// It has no format.
    #[error(transparent)]
    Bytes(DecodeError),
    /// It describes a guest that cannot be.
    #[error(transparent)]
    Config(EncodedError),
}

/// Puts what was tried before the system's answer.
pub(super) fn file_error<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> RecordError + use<'a> {
    move |source| RecordError::File { doing, path: path.to_owned(), source }
}
