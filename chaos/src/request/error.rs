// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a request failed.

use std::path::PathBuf;

use thiserror::Error;

use crate::bootloader::BootloaderError;
use crate::clients::chaosd::client::{self, DaemonError};
use crate::config::NumberedError;
use crate::failure::FailureClass;
use crate::guests::LifecycleError;
use crate::image::shim::ShimError;

/// Why a request failed.
#[derive(Debug, Error)]
pub enum RequestError {
    /// This process failed to carry it out.
    #[error(transparent)]
    Guest(#[from] LifecycleError),
    /// `chaosd` refused it or cannot be reached.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// `chaosd` was stopped before it answered, or does not answer.
    #[error(
        "chaosd gave no answer for guest {name}, which may exist or come to exist: see chaos list \
         as root"
    )]
    Lost {
        /// The guest.
        name: String,
        /// Why its successor was not asked.
        #[source]
        source: DaemonError,
    },
    /// The kernel is a PV kernel, which does not fit the config or the user.
    #[error("kernel {} has no PVH entry, so it is a PV kernel, {why}", kernel.display())]
    PvKernel {
        /// The kernel.
        kernel: PathBuf,
        /// Why that is refused, and what to do.
        why: &'static str,
    },
    /// The guest needs the PV shim.
    #[error("cannot start a PV kernel")]
    Shim(#[from] ShimError),
    /// The bootloader finds no kernel.
    #[error("cannot find the guest's kernel")]
    Bootloader(#[from] BootloaderError),
    /// The config cannot be used for this number of guests.
    #[error("cannot create {count} guests from one config")]
    Count {
        /// The number of guests.
        count: u32,
        /// Why.
        #[source]
        source: NumberedError,
    },
    /// A vif has a script, and the user is not root.
    #[error(
        "script= of guest {name}: only root may have scripts run in dom0; remove it, or ask root to \
         create the guest"
    )]
    Script {
        /// The guest.
        name: String,
    },
    /// `chaosd` was asked for a console.
    #[error(
        "chaosd cannot attach to the console of guest {name} before it runs; create the guest \
         without chaosd"
    )]
    ConsoleInDaemon {
        /// The guest.
        name: String,
    },
}

impl RequestError {
    /// Returns the class of the failure.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Guest(error) => error.class(),
            Self::Daemon(error) | Self::Lost { source: error, .. } => client::class(error),
            Self::Shim(_) => FailureClass::NoDom0,
            Self::Bootloader(error) => error.class(),
            Self::PvKernel { .. } | Self::Script { .. } => FailureClass::WrongInput,
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
