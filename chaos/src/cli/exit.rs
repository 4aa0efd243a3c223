//! Failures, the words for them, and the exit codes.

use chaos::chain::chain;
use chaos::clients::chaosd::client::{self, DaemonError};
use chaos::config::ConfigError;
use chaos::failure::FailureClass;
use chaos::guests::LifecycleError;
use clap::error::ErrorKind;

use super::output;

const FAILED: u8 = 1;
const WRONG_INPUT: u8 = 2;
const NO_SUCH_GUEST: u8 = 3;
const NO_DOM0: u8 = 4;
const TIMED_OUT: u8 = 5;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("{0}")]
    Arguments(String),
    #[error("cannot print the result")]
    Output(#[source] std::io::Error),
    #[error("the console connection is lost")]
    Console(#[source] nix::errno::Errno),
}

impl From<xen::Error> for Failure {
    fn from(error: xen::Error) -> Self {
        Self::Lifecycle(error.into())
    }
}

impl Failure {
    /// Prints the failure with all that led to it, and gives the exit code.
    pub(crate) fn report(self) -> u8 {
        output::error(&chain(&self));
        self.code()
    }

    fn code(&self) -> u8 {
        let class = match self {
            Self::Config(_) | Self::Arguments(_) => FailureClass::WrongInput,
            Self::Daemon(error) => client::class(error),
            Self::Output(_) | Self::Console(_) => FailureClass::Failed,
            Self::Lifecycle(error) => error.class(),
        };
        match class {
            FailureClass::Failed => FAILED,
            FailureClass::WrongInput => WRONG_INPUT,
            FailureClass::NoSuchGuest => NO_SUCH_GUEST,
            FailureClass::NoDom0 => NO_DOM0,
            FailureClass::TimedOut => TIMED_OUT,
        }
    }
}

/// Prints what is wrong with the arguments, or the help that was asked for.
pub(crate) fn usage(error: &clap::Error) -> u8 {
    // A closed pipe is no failure: whoever asked for the help has seen enough.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        _ => WRONG_INPUT,
    }
}
