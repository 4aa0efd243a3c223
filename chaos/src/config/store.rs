//! Which store a guest finds its devices in: the key `store`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What announces devices to a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// The device page.
    #[default]
    Noxs,
    /// XenStore.
    XenStore,
}

impl Store {
    /// Its name in configs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Noxs => "noxs",
            Self::XenStore => "xenstore",
        }
    }
}

impl FromStr for Store {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Noxs, Self::XenStore].into_iter().find(|store| store.as_str() == text).ok_or(())
    }
}
