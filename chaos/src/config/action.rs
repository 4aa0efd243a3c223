// SPDX-License-Identifier: GPL-3.0-or-later
//! The actions of `on_poweroff=`, `on_reboot=`, `on_crash=`, `on_watchdog=` and `on_soft_reset=`.

use std::str::FromStr;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What happens when a guest shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is destroyed.
    Destroy,
    /// It is destroyed and restarted.
    Restart,
    /// It is kept under another name and restarted.
    RenameRestart,
    /// It is kept as it is, for inspection.
    Preserve,
    /// Its memory is written to a file, then it is destroyed.
    CoredumpDestroy,
    /// Its memory is written to a file, then it is destroyed and restarted.
    CoredumpRestart,
}

/// An [`Action`] in the form of a message or a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum PlainAction {
    Destroy,
    Restart,
    RenameRestart,
    Preserve,
    CoredumpDestroy,
    CoredumpRestart,
}

/// A text is not an action.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?}: must be \"destroy\", \"restart\", \"rename-restart\", \"preserve\", \"coredump-destroy\" or \
     \"coredump-restart\""
)]
pub struct UnknownAction(pub String);

impl Action {
    /// Returns whether the guest's memory is written to a file.
    #[must_use]
    pub fn dumps_core(self) -> bool {
        matches!(self, Self::CoredumpDestroy | Self::CoredumpRestart)
    }

    /// Returns whether the guest is restarted.
    #[must_use]
    pub fn restarts(self) -> bool {
        match self {
            Self::Restart | Self::RenameRestart | Self::CoredumpRestart => true,
            Self::Destroy | Self::Preserve | Self::CoredumpDestroy => false,
        }
    }
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        match text {
            "destroy" => Ok(Self::Destroy),
            "restart" => Ok(Self::Restart),
            "rename-restart" => Ok(Self::RenameRestart),
            "preserve" => Ok(Self::Preserve),
            "coredump-destroy" => Ok(Self::CoredumpDestroy),
            "coredump-restart" => Ok(Self::CoredumpRestart),
            _ => Err(UnknownAction(text.to_owned())),
        }
    }
}

impl From<Action> for PlainAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Destroy => Self::Destroy,
            Action::Restart => Self::Restart,
            Action::RenameRestart => Self::RenameRestart,
            Action::Preserve => Self::Preserve,
            Action::CoredumpDestroy => Self::CoredumpDestroy,
            Action::CoredumpRestart => Self::CoredumpRestart,
        }
    }
}

impl From<PlainAction> for Action {
    fn from(action: PlainAction) -> Self {
        match action {
            PlainAction::Destroy => Self::Destroy,
            PlainAction::Restart => Self::Restart,
            PlainAction::RenameRestart => Self::RenameRestart,
            PlainAction::Preserve => Self::Preserve,
            PlainAction::CoredumpDestroy => Self::CoredumpDestroy,
            PlainAction::CoredumpRestart => Self::CoredumpRestart,
        }
    }
}
