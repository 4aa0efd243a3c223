//! What is to happen when a guest ends.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What is to happen when a guest ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is destroyed.
    Destroy,
    /// It is destroyed and made again.
    Restart,
    /// It is kept under another name and made again.
    RenameRestart,
    /// It is kept as it is, to be looked at.
    Preserve,
}

/// The text is no action that is served.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnknownAction {
    /// Xl knows it.
    #[error("\"{0}\" is not served: no core of a guest is dumped yet; \"preserve\" keeps it")]
    Coredump(String),
    /// Nobody knows it.
    #[error(
        "{0:?} is no action; known are \"destroy\", \"restart\", \"rename-restart\" and \
         \"preserve\""
    )]
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
