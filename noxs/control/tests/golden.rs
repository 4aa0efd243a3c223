// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device records, byte by byte: records that an earlier `chaos` has written stay readable.
//!
//! Each file in `tests/golden/` holds one record in hexadecimal; `#` begins a comment.
//!
//! If a test here fails, an upgrade to the changed program would leave running guests without
//! devices. Don't edit a golden file to make the test pass: raise `RECORD_VERSION`, keep the old
//! decoder, and add a file (see `src/record/mod.rs`).
#![allow(clippy::unwrap_used)] // A failed test panics.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use noxs::{Discard, Geometry, MacAddr};
use noxs_control::record::{DeviceRecord, RECORD_VERSION};
use noxs_control::{
    Attach, ConsoleDevice, DiskIdentity, DiskImage, DomainId, Rate, VbdDevice, VifDevice,
    VifIdentity,
};

const V4_FULL: &str = include_str!("golden/v4-full.hex");
const V4_PREPARED: &str = include_str!("golden/v4-prepared.hex");
const V5_FULL: &str = include_str!("golden/v5-full.hex");
const V5_PREPARED: &str = include_str!("golden/v5-prepared.hex");

const HINT: &str = "the format has changed: raise RECORD_VERSION, keep the old decoder, and add a \
                    golden file (see src/record/mod.rs)";

fn bytes(golden: &str) -> Vec<u8> {
    let digits: String = golden
        .lines()
        .map(|line| line.split('#').next().unwrap())
        .flat_map(str::split_whitespace)
        .collect();
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Returns the record of a guest that uses every field.
fn full() -> DeviceRecord<'static> {
    let vif = |index: u16, bridge: &str, identity| VifDevice {
        index,
        port: 300,
        tx_ring: 9 + 2 * u32::from(index),
        rx_ring: 10 + 2 * u32::from(index),
        bridge: bridge.into(),
        identity: Some(identity),
    };
    let first = VifIdentity {
        mac: MacAddr([0, 0x16, 0x3e, 0, 0, 1]),
        ipv4: Some(Ipv4Addr::new(10, 0, 0, 2)),
        ipv6: Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
        mtu: 1500,
        rate: Some(Rate { bytes: 65_536, interval_us: 50_000 }),
    };
    let second = VifIdentity {
        mac: MacAddr([0, 0x16, 0x3e, 0, 0, 2]),
        ipv4: None,
        ipv6: None,
        mtu: 900,
        rate: None,
    };
    DeviceRecord {
        id: DomainId { domid: 3, handle: *b"0123456789abcdef" },
        console: Some(ConsoleDevice { port: 300, ring: 8 }),
        vifs: Cow::Owned(vec![vif(0, "xenbr0", first), vif(1, "br1", second)]),
        vbds: Cow::Owned(disks()),
    }
}

fn disks() -> Vec<VbdDevice> {
    let file = DiskImage {
        path: "/a.img".into(),
        identity: DiskIdentity::File { device: 2049, inode: 17 },
        geometry: Geometry {
            sectors: 16384,
            sector_size: 512,
            physical_sector_size: 4096,
            read_only: false,
        },
        discard: Some(Discard { granularity: 4096, alignment: 512, secure: false }),
    };
    let device = DiskImage {
        path: "/dev/b".into(),
        identity: DiskIdentity::BlockDevice { number: 0x700 },
        geometry: Geometry {
            sectors: 8,
            sector_size: 4096,
            physical_sector_size: 4096,
            read_only: true,
        },
        discard: None,
    };
    let images = (0u16..).zip([file, device]);
    let vbd = |(index, image)| VbdDevice {
        index,
        port: 300,
        ring: 13 + u32::from(index),
        image: Some(image),
    };
    images.map(vbd).collect()
}

/// Returns a record as version 4 had it.
fn without_ipv6(mut record: DeviceRecord<'static>) -> DeviceRecord<'static> {
    for vif in record.vifs.to_mut() {
        if let Some(identity) = &mut vif.identity {
            identity.ipv6 = None;
        }
    }
    record
}

/// Returns the record of a shell: without a console, and with a vif that has no identity and a disk
/// that has no image yet.
fn prepared() -> DeviceRecord<'static> {
    let mut record = full();
    record.console = None;
    let vifs = record.vifs.to_mut();
    vifs.truncate(1);
    vifs[0].identity = None;
    let vbds = record.vbds.to_mut();
    vbds.truncate(1);
    vbds[0].image = None;
    record
}

#[test]
fn the_current_version_is_written_as_its_golden_files() {
    assert_eq!(RECORD_VERSION, 5, "add golden files of the new version, and compare them here");
    assert_eq!(full().encode().unwrap(), bytes(V5_FULL), "{HINT}");
    assert_eq!(prepared().encode().unwrap(), bytes(V5_PREPARED), "{HINT}");
}

#[test]
fn the_current_version_is_read() {
    assert_eq!(DeviceRecord::decode(&bytes(V5_FULL)), Ok(full()), "{HINT}");
    assert_eq!(DeviceRecord::decode(&bytes(V5_PREPARED)), Ok(prepared()), "{HINT}");
}

#[test]
fn the_previous_version_is_read() {
    assert_eq!(DeviceRecord::decode(&bytes(V4_FULL)), Ok(without_ipv6(full())), "{HINT}");
    assert_eq!(DeviceRecord::decode(&bytes(V4_PREPARED)), Ok(without_ipv6(prepared())), "{HINT}");
}

#[test]
fn an_attach_request_and_its_record_hold_the_same() {
    let attach = Attach::from(full());
    assert_eq!(DeviceRecord::from(&attach), full());
}
