//! What dom0 remembers of a domain.
//!
//! ```text
//! /run/chaos/names/NAME          symbolic link to ../domains/DOMID; made exclusively, so a clash
//!                                of names costs one system call and no scan
//! /run/chaos/domains/DOMID/
//!     name                       link as that above, prepared before the name is known; only for
//!                                a domain that was a shell
//!     record                     this module's Record, encoded; written in one piece, replaced by
//!                                rename
//!     devices                    what noxsd needs to attach the devices again (noxs_control)
//!     console.log                what the console printed, written by noxsd
//! /run/chaos/restarts/NAME       record of a guest that has ended and whose restart is pending; there
//!                                from before it is removed until its successor is there
//! ```
//!
//! What Xen knows (state, memory, CPU time) is asked of Xen and never kept here. A record bears the
//! domain's handle, so that a reused domid is never mistaken for its predecessor.
//!
//! Records outlive the chaos that wrote them: their bytes have a version of their own, apart from the
//! messages of the sockets, and the previous version is always read (`stored`).

mod error;
mod files;
mod names;
mod prepared;
mod restarts;
mod stored;

use std::time::{SystemTime, UNIX_EPOCH};

use xen::units::{DomId, DomainHandle, Gfn, Port};

use crate::config::DomainConfig;

pub use error::{RecordError, StoredError};
pub use files::{ROOT, Records};
pub use prepared::PreparedRecord;

/// What is remembered of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The domain's number.
    pub domid: DomId,
    /// Its handle.
    pub handle: DomainHandle,
    /// What it was made from, with all that was left open decided: it makes the same guest again,
    /// with the same addresses.
    pub config: DomainConfig,
    /// When it was made, in milliseconds after the Unix epoch.
    pub created_ms: u64,
    /// Its device page, if it has one.
    pub device_page: Option<DevicePageRecord>,
    /// Whether the user asked for it to be paused. A guest that is paused without that and has never
    /// run is incomplete once its creator is gone.
    pub paused: bool,
}

/// What is remembered of a guest's device page: where requests to shut down go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePageRecord {
    /// Frame of the device page.
    pub gfn: Gfn,
    /// Frame of the answer page.
    pub answer_gfn: Gfn,
    /// The guest's end of the sysctl event channel.
    pub sysctl_port: Port,
    /// Number of the newest sysctl request; 0 before the first, as in the page itself.
    pub requests: u32,
}

impl Record {
    /// A record of a domain made now from this config, without its other facts.
    #[must_use]
    pub fn new(domid: DomId, handle: DomainHandle, config: DomainConfig) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            domid,
            handle,
            config,
            created_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            device_page: None,
            paused: false,
        }
    }

    /// The domain's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }
}
