// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a command fails.

use std::io;

use chaos::clients::chaosd::client::DaemonError;
use chaos::clients::chaosd::http::HttpError;
use chaos::config::ConfigErrors;
use chaos::failure::FailureClass;
use chaos::guests::LifecycleError;
use chaos::request::RequestError;
use daemon::chain::chain;
use nix::errno::Errno;

use super::host_error::HostError;
use super::output::Output;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Http(#[from] HttpError),
    /// `create -n` has created some of the guests.
    #[error("created only {created} of {wanted} guests, {first} to {last}")]
    Partial {
        created: usize,
        wanted: usize,
        first: String,
        last: String,
        #[source]
        source: Box<RequestError>,
    },
    #[error("the command was carried out, but its result cannot be printed to standard output")]
    Output(#[source] io::Error),
    #[error("cannot start chaos-top, which is a program of its own; install it beside chaos")]
    Top(#[source] io::Error),
    #[error("cannot use the console")]
    Console(#[source] Errno),
}

impl From<LifecycleError> for Failure {
    fn from(error: LifecycleError) -> Self {
        Self::Request(error.into())
    }
}

impl From<xen::Error> for Failure {
    fn from(error: xen::Error) -> Self {
        Self::Host(error.into())
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        Self::Request(error.into())
    }
}

/// The failures of a command for several guests, which goes on after one. The first failure decides
/// the exit code and is printed at the end, the later ones are printed at once.
#[derive(Debug, Default)]
pub(crate) struct FirstFailure(Option<Failure>);

impl FirstFailure {
    /// Adds a failure.
    pub(crate) fn add(&mut self, error: LifecycleError, output: &mut Output) {
        match self.0 {
            None => self.0 = Some(error.into()),
            Some(_) => output.warning(&chain(&error)),
        }
    }

    /// Returns the result of the command.
    pub(crate) fn result(self) -> Result<(), Failure> {
        self.0.map_or(Ok(()), Err)
    }
}

impl Failure {
    /// Returns the class, which decides the exit code.
    pub(crate) fn class(&self) -> FailureClass {
        match self {
            Self::Config(_) => FailureClass::WrongInput,
            Self::Request(error) => error.class(),
            Self::Host(error) => error.class(),
            Self::Http(error) => error.class(),
            // The exit code of wrong input says that nothing was changed.
            Self::Partial { source, .. } => match source.class() {
                FailureClass::WrongInput => FailureClass::Failed,
                class => class,
            },
            Self::Output(_) | Self::Top(_) | Self::Console(_) => FailureClass::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use chaos::config::NumberedError;

    use super::*;

    #[test]
    fn a_partial_create_has_changed_something() {
        let source = || RequestError::Count { count: 3, source: NumberedError::Mac };
        let partial = Failure::Partial {
            created: 2,
            wanted: 3,
            first: "web-1".to_owned(),
            last: "web-2".to_owned(),
            source: Box::new(source()),
        };
        assert_eq!(Failure::from(source()).class(), FailureClass::WrongInput);
        assert_eq!(partial.class(), FailureClass::Failed);
        let text = chain(&partial);
        assert!(text.starts_with("created only 2 of 3 guests, web-1 to web-2: cannot"), "{text}");
    }
}
