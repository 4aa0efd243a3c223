//! What dom0 remembers of a domain.
//!
//! ```text
//! /run/chaos/names/NAME          symbolic link to ../domains/DOMID; made exclusively, so a clash
//!                                of names costs one system call and no scan
//! /run/chaos/domains/DOMID/
//!     name                       link as that above, made before anybody has given the name; only for
//!                                a domain that was a shell
//!     record                     this module's Record, encoded; written in one piece, replaced by
//!                                rename
//!     devices                    what noxsd needs to attach the devices again (noxs_control)
//!     console.log                what the console printed, written by noxsd
//! /run/chaos/restarts/NAME       record of a guest that has ended and is to be made again; there
//!                                from before it is removed until its successor is there
//! ```
//!
//! What Xen knows (state, memory, CPU time) is asked of Xen and never kept here. A record bears the
//! domain's handle, so that a reused domid is never mistaken for its predecessor.

mod ahead;
mod error;
mod names;
mod records;
mod stored;

use std::time::{SystemTime, UNIX_EPOCH};

use xen::units::{DomId, DomainHandle};

use crate::config::DomainConfig;

pub use ahead::Ahead;
pub use error::{RecordError, StoredError};
pub use records::{ROOT, Records};

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
    /// Frame of the device page.
    pub device_page_gfn: u64,
    /// Frame of the answer page.
    pub answer_page_gfn: u64,
    /// The guest's end of the sysctl event channel.
    pub sysctl_port: u32,
    /// Number of the newest sysctl request; 0 before the first.
    pub requests: u32,
    /// Whether it may be paused although it has never run: that was asked for. Another one like that
    /// is half-made once its maker is gone.
    pub paused: bool,
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
            device_page_gfn: 0,
            answer_page_gfn: 0,
            sysctl_port: 0,
            requests: 0,
            paused: false,
        }
    }

    /// The domain's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }
}
