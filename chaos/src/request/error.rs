//! Why a request was not carried out.

use thiserror::Error;

use crate::clients::chaosd::client::{self, DaemonError};
use crate::config::NumberedError;
use crate::failure::FailureClass;
use crate::guests::LifecycleError;

/// Why a request was not carried out.
#[derive(Debug, Error)]
pub enum RequestError {
    /// This process cannot carry it out.
    #[error(transparent)]
    Guest(#[from] LifecycleError),
    /// `chaosd` did not carry it out.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The config does not describe so many guests.
    #[error("cannot create {count} guests from one config")]
    Count {
        /// How many were asked for.
        count: u32,
        /// Why.
        #[source]
        source: NumberedError,
    },
    /// `chaosd` was asked for a console.
    #[error(
        "chaosd cannot connect to the console of guest {name} before it runs; create the guest in \
         this process"
    )]
    ConsoleInDaemon {
        /// The guest.
        name: String,
    },
}

impl RequestError {
    /// Returns what kind of failure it is.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Guest(error) => error.class(),
            Self::Daemon(error) => client::class(error),
            Self::Count { .. } | Self::ConsoleInDaemon { .. } => FailureClass::WrongInput,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NumberedError;

    #[test]
    fn a_failure_has_the_class_of_its_cause() {
        let missing = LifecycleError::NoSuchGuest { target: "x".to_owned() };
        assert_eq!(RequestError::from(missing).class(), FailureClass::NoSuchGuest);
        let silent = DaemonError::NotRunning { daemon: &client::CHAOSD, path: "/nowhere".into() };
        assert_eq!(RequestError::from(silent).class(), FailureClass::NoDom0);
        let count = RequestError::Count { count: 2, source: NumberedError::Mac };
        assert_eq!(count.class(), FailureClass::WrongInput);
    }
}
