// SPDX-License-Identifier: GPL-3.0-or-later
//! Version 3 of the record, which chaos reads and no longer writes.

use bincode::Decode;
use daemon::encoding;
use xen::units::{DomId, DomainHandle, Gfn, Port};

use super::config::{LIMIT, StoredConfig};
use super::error::StoredError;
use crate::records::record::{DevicePageRecord, Record};

/// First byte of a record of this version.
pub(super) const VERSION: u8 = 3;

#[derive(Decode)]
struct Stored {
    domid: u16,
    handle: [u8; 16],
    config: StoredConfig,
    created_ms: u64,
    /// 0, as are the next three fields, if the guest does not have a device page.
    device_page_gfn: u64,
    answer_page_gfn: u64,
    sysctl_port: u32,
    requests: u32,
    paused: bool,
}

/// Decodes a record of this version.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, StoredError> {
    let stored: Stored =
        encoding::decode::<_, LIMIT>(VERSION, bytes).map_err(StoredError::Bytes)?;
    let device_page = (stored.device_page_gfn != 0).then_some(DevicePageRecord {
        gfn: Gfn(stored.device_page_gfn),
        answer_gfn: Gfn(stored.answer_page_gfn),
        sysctl_port: Port(stored.sysctl_port),
        requests: stored.requests,
    });
    Ok(Record {
        domid: DomId(stored.domid),
        handle: DomainHandle(stored.handle),
        config: stored.config.check()?,
        created_ms: stored.created_ms,
        device_page,
        paused: stored.paused,
    })
}
