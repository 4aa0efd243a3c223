// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structures in a guest's own memory: `shared_info` and `start_info`.

use std::mem::{offset_of, size_of};

use xen_abi::{shared_info, start_info};

use crate::c::{Table, structure};
use crate::{PROLOGUE, xen_headers};

#[test]
fn shared_info_is_xens() {
    let mut t = Table::default();
    structure!(
        t,
        "struct vcpu_time_info" = shared_info::VcpuTimeInfo {
            version: "version",
            tsc_timestamp: "tsc_timestamp",
            system_time: "system_time",
            tsc_to_system_mul: "tsc_to_system_mul",
            tsc_shift: "tsc_shift",
            flags: "flags",
        }
    );
    structure!(
        t,
        "struct vcpu_info" = shared_info::VcpuInfo {
            evtchn_upcall_pending: "evtchn_upcall_pending",
            evtchn_upcall_mask: "evtchn_upcall_mask",
            evtchn_pending_sel: "evtchn_pending_sel",
            arch: "arch",
            time: "time",
        }
    );
    let page = "struct shared_info";
    t.offset(page, "vcpu_info", offset_of!(shared_info::SharedInfo, vcpu_info));
    t.offset(page, "evtchn_pending", offset_of!(shared_info::SharedInfo, evtchn_pending));
    t.offset(page, "evtchn_mask", offset_of!(shared_info::SharedInfo, evtchn_mask));
    t.offset(page, "wc_version", offset_of!(shared_info::SharedInfo, wc_version));
    t.offset(page, "wc_sec", offset_of!(shared_info::SharedInfo, wc_sec));
    t.offset(page, "wc_nsec", offset_of!(shared_info::SharedInfo, wc_nsec));
    t.offset(page, "wc_sec_hi", offset_of!(shared_info::SharedInfo, wc_sec_hi));
    t.offset(page, "arch", size_of::<shared_info::SharedInfo>());
    t.value("XEN_LEGACY_MAX_VCPUS", shared_info::XEN_LEGACY_MAX_VCPUS);
    t.value("EVTCHN_2L_NR_CHANNELS", shared_info::EVTCHN_2L_NR_CHANNELS);
    t.compare(PROLOGUE, xen_headers().as_deref());
}

#[test]
fn start_info_is_xens() {
    let mut t = Table::default();
    structure!(
        t,
        "struct hvm_start_info" = start_info::StartInfo {
            magic: "magic",
            version: "version",
            flags: "flags",
            nr_modules: "nr_modules",
            modlist_paddr: "modlist_paddr",
            cmdline_paddr: "cmdline_paddr",
            rsdp_paddr: "rsdp_paddr",
            memmap_paddr: "memmap_paddr",
            memmap_entries: "memmap_entries",
            reserved: "reserved",
        }
    );
    structure!(
        t,
        "struct hvm_modlist_entry" = start_info::ModlistEntry {
            paddr: "paddr",
            size: "size",
            cmdline_paddr: "cmdline_paddr",
            reserved: "reserved",
        }
    );
    structure!(
        t,
        "struct hvm_memmap_table_entry" = start_info::MemmapEntry {
            addr: "addr",
            size: "size",
            kind: "type",
            reserved: "reserved",
        }
    );
    t.value("XEN_HVM_START_MAGIC_VALUE", start_info::XEN_HVM_START_MAGIC_VALUE);
    t.value("XEN_HVM_MEMMAP_TYPE_RAM", start_info::XEN_HVM_MEMMAP_TYPE_RAM);
    t.value("XEN_HVM_MEMMAP_TYPE_RESERVED", start_info::XEN_HVM_MEMMAP_TYPE_RESERVED);
    t.compare(PROLOGUE, xen_headers().as_deref());
}
