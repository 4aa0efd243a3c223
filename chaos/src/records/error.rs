// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a record cannot be used.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use xen::units::DomId;

use super::stored::StoredError;

/// Why a record cannot be written or read.
#[derive(Debug, Error)]
pub enum RecordError {
    /// A file cannot be used.
    #[error("cannot {doing} {path}")]
    File {
        /// The operation that failed.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
    /// The file does not contain a record.
    #[error("cannot use record {path}")]
    Damaged {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: StoredError,
    },
    /// The record is longer than the format allows.
    #[error(
        "cannot write record {path}: it is longer than {limit} bytes; shorten the guest's config"
    )]
    TooLong {
        /// The record.
        path: PathBuf,
        /// The longest record in bytes.
        limit: usize,
    },
    /// Another process is changing the record.
    #[error(
        "domain {domid} is being changed by another process, which has held {path} for more than \
         {} s; wait for that command or end it", after.as_secs_f32()
    )]
    Locked {
        /// The domain.
        domid: DomId,
        /// The lock.
        path: PathBuf,
        /// How long this process has waited.
        after: Duration,
    },
    /// The name is in use.
    #[error("the name {name} is in use by domain {domid}; see chaos list")]
    NameInUse {
        /// The name.
        name: String,
        /// The domain that has it.
        domid: DomId,
    },
}

/// Returns a conversion that adds the operation and the file to the kernel's error.
pub(super) fn file_error<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> RecordError + use<'a> {
    move |source| RecordError::File { doing, path: path.to_owned(), source }
}
