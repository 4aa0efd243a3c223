// SPDX-License-Identifier: GPL-3.0-or-later
//! The actions of `on_poweroff=`, `on_reboot=` and `on_crash=`.

use std::str::FromStr;

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
}

/// Why a text is not a supported action.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnknownAction {
    /// It is an action of xl that is not supported.
    #[error(
        "{0:?} is not supported: chaos does not write core dumps yet; use \"preserve\" to keep the \
         guest"
    )]
    Coredump(String),
    /// It is not an action.
    #[error("{0:?}: must be \"destroy\", \"restart\", \"rename-restart\" or \"preserve\"")]
    Unknown(String),
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        match text {
            "destroy" => Ok(Self::Destroy),
            "restart" => Ok(Self::Restart),
            "rename-restart" => Ok(Self::RenameRestart),
            "preserve" => Ok(Self::Preserve),
            "coredump-destroy" | "coredump-restart" => {
                Err(UnknownAction::Coredump(text.to_owned()))
            }
            _ => Err(UnknownAction::Unknown(text.to_owned())),
        }
    }
}
