// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls that only dom0 may make: `domctl.h` and `sysctl.h`.

use std::mem::offset_of;

use xen_abi::{domctl, sysctl};

use crate::c::{Table, evaluate, structure};
use crate::{PROLOGUE, xen_headers};

#[test]
fn domctl_and_sysctl() {
    let include = xen_headers();
    let version = evaluate(
        PROLOGUE,
        include.as_deref(),
        ["(long long)XEN_DOMCTL_INTERFACE_VERSION"].into_iter(),
    )[0];
    let mut t = Table::default();
    t.size("struct xen_domctl", domctl::DOMCTL_SIZE);
    t.offset("struct xen_domctl", "u", domctl::DOMCTL_UNION);
    t.offset("struct xen_domctl", "domain", offset_of!(domctl::DomctlHeader, domain));
    macro_rules! create_domain {
        ($ours:ty) => {{
            structure!(
                t,
                "struct xen_domctl_createdomain" = $ours {
                    handle: "handle",
                    flags: "flags",
                    max_vcpus: "max_vcpus",
                    max_evtchn_port: "max_evtchn_port",
                    max_grant_frames: "max_grant_frames",
                    max_maptrack_frames: "max_maptrack_frames",
                    grant_opts: "grant_opts",
                    vmtrace_size: "vmtrace_size",
                    cpupool_id: "cpupool_id",
                    arch_emulation_flags: "arch.emulation_flags",
                    arch_misc_flags: "arch.misc_flags",
                }
            )
        }};
    }
    match version {
        0x15 | 0x16 => create_domain!(domctl::CreateDomain16),
        0x17 | 0x18 => create_domain!(domctl::CreateDomain17),
        other => panic!("headers with domctl interface version {other:#x} are not supported"),
    }
    structure!(
        t,
        "struct xen_domctl_getdomaininfo" = domctl::GetDomainInfo {
            domain: "domain",
            flags: "flags",
            tot_pages: "tot_pages",
            max_pages: "max_pages",
            cpu_time: "cpu_time",
            nr_online_vcpus: "nr_online_vcpus",
            max_vcpu_id: "max_vcpu_id",
            handle: "handle",
            arch_emulation_flags: "arch_config.emulation_flags",
        }
    );
    // Since Xen 4.21.
    let sysctl_version = evaluate(
        PROLOGUE,
        include.as_deref(),
        ["(long long)XEN_SYSCTL_INTERFACE_VERSION"].into_iter(),
    )[0];
    match sysctl_version {
        0x15 => {}
        0x16 => {
            structure!(
                t,
                "struct xen_domctl_get_domain_state" = domctl::GetDomainState {
                    state: "state",
                    caps: "caps",
                    pad0: "pad0",
                    unique_id: "unique_id",
                }
            );
            t.value("XEN_DOMCTL_get_domain_state", domctl::XEN_DOMCTL_GET_DOMAIN_STATE);
        }
        other => panic!("headers with sysctl interface version {other:#x} are not supported"),
    }
    // Before, only Xen itself has names for them (`asm/time.h`).
    if version >= 0x17 {
        for (c, ours) in [
            ("XEN_CPUID_TSC_MODE_DEFAULT", domctl::XEN_CPUID_TSC_MODE_DEFAULT),
            ("XEN_CPUID_TSC_MODE_ALWAYS_EMULATE", domctl::XEN_CPUID_TSC_MODE_ALWAYS_EMULATE),
            ("XEN_CPUID_TSC_MODE_NEVER_EMULATE", domctl::XEN_CPUID_TSC_MODE_NEVER_EMULATE),
        ] {
            t.value(c, ours);
        }
    }
    if version >= 0x18 {
        t.value("DOMID_ANY", u32::from(xen_abi::DOMID_ANY));
    }
    structure!(t, "struct xen_domctl_max_mem" = domctl::MaxMem { max_memkb: "max_memkb" });
    structure!(
        t,
        "struct xen_domctl_setdomainhandle" = domctl::SetDomainHandle { handle: "handle" }
    );
    structure!(
        t,
        "struct xen_domctl_settimeoffset" =
            domctl::SetTimeOffset { time_offset_seconds: "time_offset_seconds" }
    );
    structure!(
        t,
        "struct xen_domctl_tsc_info" = domctl::TscInfo {
            tsc_mode: "tsc_mode",
            gtsc_khz: "gtsc_khz",
            incarnation: "incarnation",
            elapsed_nsec: "elapsed_nsec",
        }
    );
    structure!(t, "struct xen_domctl_max_vcpus" = domctl::MaxVcpus { max: "max" });
    structure!(
        t,
        "struct xen_domctl_hvmcontext" = domctl::HvmContext { size: "size", buffer: "buffer" }
    );
    structure!(t, "struct xen_domctl_paging_mempool" = domctl::PagingMempool { size: "size" });
    for (c, ours) in [
        ("XEN_DOMCTL_createdomain", domctl::XEN_DOMCTL_CREATEDOMAIN),
        ("XEN_DOMCTL_destroydomain", domctl::XEN_DOMCTL_DESTROYDOMAIN),
        ("XEN_DOMCTL_pausedomain", domctl::XEN_DOMCTL_PAUSEDOMAIN),
        ("XEN_DOMCTL_unpausedomain", domctl::XEN_DOMCTL_UNPAUSEDOMAIN),
        ("XEN_DOMCTL_getdomaininfo", domctl::XEN_DOMCTL_GETDOMAININFO),
        ("XEN_DOMCTL_max_mem", domctl::XEN_DOMCTL_MAX_MEM),
        ("XEN_DOMCTL_max_vcpus", domctl::XEN_DOMCTL_MAX_VCPUS),
        ("XEN_DOMCTL_setdomainhandle", domctl::XEN_DOMCTL_SETDOMAINHANDLE),
        ("XEN_DOMCTL_settimeoffset", domctl::XEN_DOMCTL_SETTIMEOFFSET),
        ("XEN_DOMCTL_settscinfo", domctl::XEN_DOMCTL_SETTSCINFO),
        ("XEN_DOMCTL_gethvmcontext", domctl::XEN_DOMCTL_GETHVMCONTEXT),
        ("XEN_DOMCTL_sethvmcontext", domctl::XEN_DOMCTL_SETHVMCONTEXT),
        ("XEN_DOMCTL_get_paging_mempool_size", domctl::XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE),
        ("XEN_DOMCTL_set_paging_mempool_size", domctl::XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE),
        ("XEN_DOMCTL_CDF_hvm", domctl::XEN_DOMCTL_CDF_HVM),
        ("XEN_DOMCTL_CDF_hap", domctl::XEN_DOMCTL_CDF_HAP),
        ("XEN_X86_EMU_LAPIC", domctl::XEN_X86_EMU_LAPIC),
        ("XEN_DOMINF_dying", domctl::XEN_DOMINF_DYING),
        ("XEN_DOMINF_hvm_guest", domctl::XEN_DOMINF_HVM_GUEST),
        ("XEN_DOMINF_shutdown", domctl::XEN_DOMINF_SHUTDOWN),
        ("XEN_DOMINF_paused", domctl::XEN_DOMINF_PAUSED),
        ("XEN_DOMINF_blocked", domctl::XEN_DOMINF_BLOCKED),
        ("XEN_DOMINF_running", domctl::XEN_DOMINF_RUNNING),
        ("XEN_DOMINF_shutdownshift", domctl::XEN_DOMINF_SHUTDOWNSHIFT),
        ("XEN_DOMINF_shutdownmask", domctl::XEN_DOMINF_SHUTDOWNMASK),
        ("XEN_SYSCTL_physinfo", sysctl::XEN_SYSCTL_PHYSINFO),
        ("XEN_SYSCTL_getdomaininfolist", sysctl::XEN_SYSCTL_GETDOMAININFOLIST),
    ] {
        t.value(c, ours);
    }
    t.size("struct xen_sysctl", sysctl::SYSCTL_SIZE);
    t.offset("struct xen_sysctl", "u", sysctl::SYSCTL_UNION);
    structure!(
        t,
        "struct xen_sysctl_physinfo" = sysctl::PhysInfo {
            nr_cpus: "nr_cpus",
            total_pages: "total_pages",
            free_pages: "free_pages",
            scrub_pages: "scrub_pages",
            outstanding_pages: "outstanding_pages",
            hw_cap: "hw_cap",
        }
    );
    structure!(
        t,
        "struct xen_sysctl_getdomaininfolist" = sysctl::GetDomainInfoList {
            first_domain: "first_domain",
            max_domains: "max_domains",
            buffer: "buffer",
            num_domains: "num_domains",
        }
    );
    t.compare(PROLOGUE, include.as_deref());
}
