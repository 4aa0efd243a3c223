//! What announces devices to a guest.
//!
//! * [`Store::Noxs`]: the device page ([`crate::builder`]), with `noxsd` as backend. Nothing of this
//!   module is used then.
//! * [`Store::XenStore`]: XenStore, with dom0's kernel as backend for network and disks, and
//!   xenconsoled for the console. For hosts and guests that need it (`docs/xenstore.md`).
//!
//! In XenStore mode all that is announced of a guest is written in one transaction, whose requests
//! are sent at once ([`Place::announce`]). Then dom0's kernel makes its ends of the devices;
//! [`Place::settle`] waits for that and puts the interfaces on their bridges. No script is run.

mod announce;
mod barrier;
mod bridge;
mod connection;
mod disk;
mod error;
mod tree;
mod wire;

use std::cell::RefCell;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use announce::{Control, EndWatch, Port, terminal};
pub use connection::Connection;
pub use disk::{Disk, DiskError};
pub use error::StoreError;
pub use tree::{GuestFacts, Place, ShellFacts};

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

/// xenstored, connected to when it is needed first.
#[derive(Debug, Default)]
pub struct Link(RefCell<Option<Connection>>);

impl Link {
    /// Does something with the connection. One that has failed is not used again.
    ///
    /// # Errors
    /// Nobody listens, or what `act` gives.
    pub fn call<T>(
        &self,
        act: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let kept = self.0.borrow_mut().take();
        let mut connection = kept.map_or_else(Connection::open, Ok)?;
        let result = act(&mut connection)?;
        *self.0.borrow_mut() = Some(connection);
        Ok(result)
    }
}
