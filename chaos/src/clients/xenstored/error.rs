// SPDX-License-Identifier: GPL-3.0-or-later
//! Why XenStore cannot be used.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use xenstore::ErrorName;

use crate::escape;

/// Why XenStore cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// xenstored does not run.
    #[error(
        "xenstored is not running (no process listens on {path}); start xenstored and xenconsoled"
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The kernel's device for XenStore cannot be used.
    #[error("cannot open {path}; mount devtmpfs, and start xenstored before the guest is created")]
    Xenbus {
        /// The device.
        path: PathBuf,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
    /// A program did not answer in time.
    #[error("{program} has not answered within {} s", after.as_secs())]
    Silent {
        /// The program that was asked.
        program: &'static str,
        /// How long it was given.
        after: Duration,
    },
    /// The connection broke.
    #[error("the connection to xenstored is lost; check that xenstored runs")]
    Lost(#[source] io::Error),
    /// The answer belongs to another request.
    #[error("xenstored's answer does not match the request")]
    Unexpected,
    /// A request was refused.
    #[error("xenstored refuses to {doing}")]
    Refused {
        /// The request.
        doing: String,
        /// The error that it returned.
        #[source]
        reason: StoreRefusal,
    },
}

impl StoreError {
    /// Returns whether no XenStore runs on this host, or none that can be reached.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NotRunning { .. } | Self::Xenbus { .. })
    }
}

/// The error with which xenstored refuses a request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreRefusal {
    /// One of its protocol.
    #[error("{}", .0.as_str())]
    Known(ErrorName),
    /// Another one.
    #[error("{}", escape::line(.0))]
    Other(String),
}

impl StoreRefusal {
    /// Returns the error with this name.
    pub(super) fn named(name: &str) -> Self {
        ErrorName::of(name).map_or_else(|| Self::Other(name.to_owned()), Self::Known)
    }
}
