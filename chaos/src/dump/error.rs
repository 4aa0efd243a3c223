// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a core file could not be written.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a core file could not be written.
#[derive(Debug, Error)]
pub enum DumpError {
    /// Xen refused.
    #[error("cannot read the guest's state")]
    Xen(#[from] xen::Error),
    /// The file cannot be written.
    #[error("cannot write the core file; no part of it is left")]
    Write {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be created, or cannot get its name.
    #[error("cannot create {path}")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The path names something other than a file.
    #[error("{path} is not a regular file, so it is not replaced; name another file")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A signal has ended it.
    #[error("the dump was interrupted; no part of the core file is left")]
    Interrupted,
    /// The domain does not exist any more.
    #[error("the guest was destroyed meanwhile; no part of its core file is left")]
    Destroyed,
    /// It cannot be found out whether a signal is pending.
    #[error("cannot watch for signals")]
    Signals(#[source] nix::errno::Errno),
}
