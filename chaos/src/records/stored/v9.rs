// SPDX-License-Identifier: GPL-3.0-or-later
//! Version 9 of the record, which chaos writes. It has the bootloader and the scripts of vifs, too.

use bincode::{Decode, Encode};
use daemon::encoding::{self, DecodeError};
use xen::units::{DomId, DomainHandle, Gfn, Port};

use super::config::{LIMIT, StoredConfig};
use super::devices::StoredDevices;
use super::error::StoredError;
use crate::config::{PlainBootloader, PlainExtras, PlainScript};
use crate::records::record::{DevicePageRecord, PageDevices, Record, RequestId};

/// First byte of a record of this version.
pub(super) const VERSION: u8 = 9;

/// A record. Its last part, of type `A`, differs between this version and the one before.
#[derive(Encode, Decode)]
struct Stored<A> {
    domid: u16,
    handle: [u8; 16],
    config: StoredConfig,
    created_ms: u64,
    device_page: Option<StoredDevicePage>,
    paused: bool,
    owner: u32,
    request: Option<RequestId>,
    renamed_from: Option<String>,
    extras: Option<Box<PlainExtras>>,
    added: A,
}

/// What this version added.
#[derive(Default, Encode, Decode)]
pub(super) struct Added {
    bootloader: Option<Box<PlainBootloader>>,
    scripts: Vec<PlainScript>,
}

#[derive(Encode, Decode)]
struct StoredDevicePage {
    gfn: u64,
    answer_gfn: u64,
    sysctl_port: u32,
    requests: u32,
    devices: Option<StoredDevices>,
}

/// Encodes a record. Returns `None` if it is longer than [`LIMIT`].
pub(super) fn encode(record: &Record) -> Option<Vec<u8>> {
    let stored = Stored {
        domid: record.domid.0,
        handle: record.handle.0,
        config: StoredConfig::from(&record.config),
        created_ms: record.created_ms,
        device_page: record.device_page.as_ref().map(|page| StoredDevicePage {
            gfn: page.gfn.0,
            answer_gfn: page.answer_gfn.0,
            sysctl_port: page.sysctl_port.0,
            requests: page.requests,
            devices: page.devices.as_ref().map(StoredDevices::from),
        }),
        paused: record.paused,
        owner: record.owner,
        request: record.request,
        renamed_from: record.renamed_from.clone(),
        extras: PlainExtras::of(&record.config),
        added: Added {
            bootloader: PlainBootloader::of(&record.config),
            scripts: PlainScript::of(&record.config.vifs),
        },
    };
    encoding::encode::<LIMIT>(VERSION, &stored)
}

/// Decodes a record of this version.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, StoredError> {
    decode_with::<Added>(VERSION, bytes)
}

/// Decodes a record of a version whose last part has the type `A`, and which is the same otherwise.
pub(super) fn decode_with<A>(version: u8, bytes: &[u8]) -> Result<Record, StoredError>
where
    A: Decode<()> + Into<Added>,
{
    let stored: Stored<A> =
        encoding::decode::<_, LIMIT>(version, bytes).map_err(StoredError::Bytes)?;
    let devices = stored.device_page.as_ref().and_then(|page| page.devices.as_ref());
    if devices.is_some_and(|devices| !devices.is_valid()) {
        return Err(StoredError::Bytes(DecodeError::Malformed));
    }
    let Added { bootloader, scripts } = stored.added.into();
    let config = stored.config.check(stored.extras, bootloader, scripts);
    Ok(Record {
        domid: DomId(stored.domid),
        handle: DomainHandle(stored.handle),
        config: config.map_err(StoredError::Config)?,
        created_ms: stored.created_ms,
        device_page: stored.device_page.map(|page| DevicePageRecord {
            gfn: Gfn(page.gfn),
            answer_gfn: Gfn(page.answer_gfn),
            sysctl_port: Port(page.sysctl_port),
            requests: page.requests,
            devices: page.devices.map(PageDevices::from),
        }),
        paused: stored.paused,
        owner: stored.owner,
        request: stored.request,
        renamed_from: stored.renamed_from,
    })
}
