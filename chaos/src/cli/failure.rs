// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a command fails.

use std::io;

use chaos::clients::chaosd::client::DaemonError;
use chaos::config::ConfigErrors;
use chaos::failure::FailureClass;
use chaos::guests::LifecycleError;
use chaos::request::RequestError;
use nix::errno::Errno;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the command was carried out, but its result cannot be printed to standard output")]
    Output(#[source] io::Error),
    #[error("cannot use the console")]
    Console(#[source] Errno),
}

impl From<LifecycleError> for Failure {
    fn from(error: LifecycleError) -> Self {
        Self::Request(error.into())
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        Self::Request(error.into())
    }
}

impl Failure {
    /// Returns the class, which decides the exit code.
    pub(crate) fn class(&self) -> FailureClass {
        match self {
            Self::Config(_) => FailureClass::WrongInput,
            Self::Request(error) => error.class(),
            Self::Output(_) | Self::Console(_) => FailureClass::Failed,
        }
    }
}
