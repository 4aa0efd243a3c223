// SPDX-License-Identifier: GPL-3.0-or-later
use noxs_control::DeviceNumber;
use xen::units::{DomId, DomainHandle, Gfn, Port};

use super::*;
use crate::config::DomainConfig;
use crate::records::{DevicePageRecord, PageDevice, PageDevices, PendingDevice};

/// What to do when a golden test fails.
const ADVICE: &str = "the bytes of a guest's record have changed, so records of running guests can no longer be read: \
     give the new format a version and a module of its own in chaos/src/records/stored, keep the \
     module of the old version as a decoder, and add golden files for the new one";

const V8_NOXS: &str = include_str!("golden/v8-noxs.hex");
const V8_XENSTORE: &str = include_str!("golden/v8-xenstore.hex");
const V9_NOXS: &str = include_str!("golden/v9-noxs.hex");
const V9_XENSTORE: &str = include_str!("golden/v9-xenstore.hex");

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    let lines =
        bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect());
    lines.collect::<Vec<String>>().join("\n") + "\n"
}

/// What extras a config has in either version.
const EXTRAS: &str = "\
uuid='01234567-89ab-cdef-0123-456789abcdef'
maxmem=8
maxvcpus=3
max_grant_frames=64
max_maptrack_frames=128
max_event_channels=2047
cpus='0-3,^1'
cpus_soft=['1', 'node:0']
cpu_weight=512
cap=50
pool='batch'
tsc_mode='native'
timer_mode='one_missed_tick_pending'
rtc_timeoffset='-3600'
localtime=1
on_watchdog='coredump-destroy'
on_soft_reset='coredump-restart'
";

/// Those that need XenStore.
const EXTRAS_XENSTORE: &str = "driver_domain=1\npvshim=1\npvshim_path='/shim'\npvshim_extra='x'\n";

/// A bootloader.
const BOOTLOADER: &str = "\
bootloader='pygrub'
bootloader_args=['--entry=1', '-q']
bootloader_restrict=0
bootloader_user='boot'
";

/// The vif with what version 9 added, beside the bootloader.
const SCRIPT_VIF: &str =
    "vif=['mac=00:16:3e:00:00:07,bridge=ovs0.7:8,ip=10.0.0.2 10.0.0.3,script=vif-openvswitch']
";

/// What all configs here have.
const BASE: &str = "\
name='web'
type='pvh'
kernel='/k'
ramdisk='/r'
memory=4
vcpus=2
cmdline='a b'
on_crash='restart'
on_reboot='preserve'
";

fn config(more: &str) -> DomainConfig {
    let text = format!("{BASE}{more}");
    crate::config::parse_str("test", &text, &[], true).unwrap().config
}

/// The vif of the records with a device page.
const VIF: &str =
    "vif=['mac=00:16:3e:00:00:07,bridge=b,ip=10.0.0.2/24 10.0.0.1 2001:db8::2/64 fe80::1,\
    vifname=lan,mtu=1400,rate=1MB/s']
";

/// The vif of those with XenStore.
const KERNEL_VIF: &str =
    "vif=['mac=00:16:3e:00:00:07,bridge=b,ip=10.0.0.2/24 10.0.0.1,mtu=900,rate=1MB/s']
";

fn with_noxs(more: &str) -> Record {
    Record {
        created_ms: 1_764_288_000_000,
        device_page: Some(DevicePageRecord {
            gfn: Gfn(1025),
            answer_gfn: Gfn(1026),
            sysctl_port: Port(1),
            requests: 7,
            devices: Some(PageDevices {
                port: Some(Port(2)),
                vifs: vec![PageDevice { number: 3, instance: 6, rings: [4, 9], is_closing: true }],
                disks: Vec::new(),
                pending: Some(PendingDevice { device: DeviceNumber::Vbd(1), rings: [5, 5] }),
            }),
        }),
        paused: true,
        owner: 1000,
        request: Some([7; 16]),
        renamed_from: Some("web".into()),
        ..Record::new(
            DomId(3),
            DomainHandle([1; 16]),
            config(&format!("{VIF}on_poweroff='rename-restart'\n{more}")),
        )
    }
}

fn with_xenstore(vif: &str, more: &str) -> Record {
    let mut config = config(&format!("{vif}store='xenstore'\ndisk=['/a.img,raw,xvda,r']\n{more}"));
    // These were written when a config without on_watchdog= meant on_crash=.
    config.extras.as_mut().expect("it has some").on_watchdog = None;
    Record { created_ms: 1_764_288_000_000, ..Record::new(DomId(3), DomainHandle([1; 16]), config) }
}

fn with_new() -> String {
    format!("{EXTRAS_XENSTORE}{BOOTLOADER}")
}

#[test]
fn the_bytes_of_a_record_stay_as_they_are() {
    for (record, golden) in
        [(with_noxs(EXTRAS), V9_NOXS), (with_xenstore(SCRIPT_VIF, &with_new()), V9_XENSTORE)]
    {
        let now = hex(&encode(&record).unwrap());
        assert_eq!(now, golden, "{ADVICE}");
    }
}

#[test]
fn records_of_this_version_and_the_one_before_are_read() {
    for (golden, record) in [
        (V9_NOXS, with_noxs(EXTRAS)),
        (V9_XENSTORE, with_xenstore(SCRIPT_VIF, &with_new())),
        (V8_NOXS, with_noxs(EXTRAS)),
        (V8_XENSTORE, with_xenstore(KERNEL_VIF, EXTRAS_XENSTORE)),
    ] {
        assert_eq!(decode(&bytes(golden)), Ok(record), "{ADVICE}");
    }
}

#[test]
fn a_record_comes_back_as_it_was() {
    for record in [with_noxs(EXTRAS), with_xenstore(SCRIPT_VIF, &with_new()), with_noxs("")] {
        assert_eq!(decode(&encode(&record).unwrap()), Ok(record));
    }
}

#[test]
fn a_guest_whose_name_is_refused_now_stays_readable() {
    for name in ["+5", "a  b", "Domain-0"] {
        let mut record = with_noxs(EXTRAS);
        record.config.name = name.to_owned();
        assert_eq!(decode(&encode(&record).unwrap()), Ok(record));
    }
}

#[test]
fn what_is_not_a_record_is_refused_with_its_reason() {
    for golden in [V8_NOXS, V9_NOXS] {
        let bytes = bytes(golden);
        for length in 0..bytes.len() {
            let cut = decode(&bytes[..length]);
            assert_eq!(cut, Err(StoredError::Bytes(DecodeError::Malformed)), "cut to {length}");
        }
        let longer = decode(&[&bytes[..], &[0]].concat());
        assert_eq!(longer, Err(StoredError::Bytes(DecodeError::Malformed)));
        for found in [v8::VERSION - 1, VERSION + 1] {
            let other = decode(&[&[found], &bytes[1..]].concat());
            assert_eq!(other, Err(StoredError::Version { found, newest: VERSION }));
        }
    }
    let mut invalid = with_noxs(EXTRAS);
    invalid.config.name = "../x".into();
    let invalid = decode(&encode(&invalid).unwrap());
    assert!(matches!(invalid, Err(StoredError::Config(_))), "{invalid:?}");
    let mut relative = with_xenstore(SCRIPT_VIF, "");
    relative.config.vifs[0].script.as_mut().unwrap().path = "vif-route".into();
    let relative = decode(&encode(&relative).unwrap());
    assert!(matches!(relative, Err(StoredError::Config(_))), "{relative:?}");
}
