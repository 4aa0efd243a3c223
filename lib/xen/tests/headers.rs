//! Compares the raw ABI of `xen::sys` with the C headers of Xen (`libxen-dev`) and of Linux
//! (`linux-libc-dev`): sizes, offsets and constants.
//!
//! `XEN_HEADERS` names the folder that holds the `xen` folder of another version's headers; the
//! default is the system's. Where Xen's versions differ, the header's own interface version
//! decides which of our structures is compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

use xen::sys::{self, domctl, event, evtchn, gntdev, grant, hvm, memory, privcmd, sysctl};

const PROLOGUE: &str = r"
#define __XEN_TOOLS__ 1
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <xen/xen.h>
#include <xen/version.h>
#include <xen/domctl.h>
#include <xen/sysctl.h>
#include <xen/memory.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/sched.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/hvm/dm_op.h>
#include <xen/hvm/save.h>
";

const LINUX_PROLOGUE: &str = r"
#include <stddef.h>
#include <stdio.h>
#include <linux/types.h>
#include <sys/ioctl.h>
typedef unsigned short domid_t;
typedef unsigned long xen_pfn_t;
typedef unsigned int grant_ref_t;
#define __user
#include <xen/privcmd.h>
#include <xen/evtchn.h>
#include <xen/gntdev.h>
";

/// What is compared: a C expression and our value for it.
#[derive(Default)]
struct Table(Vec<(String, i128)>);

impl Table {
    fn value(&mut self, c: &str, ours: impl TryInto<i128>) {
        let ours = ours.try_into().ok().expect("all values fit in 128 bits");
        self.0.push((format!("(long long)({c})"), ours));
    }

    fn size(&mut self, c: &str, ours: usize) {
        self.value(&format!("sizeof({c})"), ours);
    }

    fn offset(&mut self, c: &str, field: &str, ours: usize) {
        self.value(&format!("offsetof({c}, {field})"), ours);
    }

    /// Compiles a program that prints the values of the C expressions, and compares.
    fn compare(&self, prologue: &str, include: Option<&Path>) {
        assert!(!self.0.is_empty());
        let theirs = evaluate(prologue, include, self.0.iter().map(|(c, _)| c.as_str()));
        let wrong: BTreeMap<_, _> = self
            .0
            .iter()
            .zip(theirs)
            .filter(|((_, ours), theirs)| ours != theirs)
            .map(|((c, ours), theirs)| (c, (ours, theirs)))
            .collect();
        assert!(wrong.is_empty(), "expression: (ours, the header's)\n{wrong:#?}");
    }
}

fn evaluate<'a>(
    prologue: &str,
    include: Option<&Path>,
    expressions: impl Iterator<Item = &'a str>,
) -> Vec<i128> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (source, program) = (folder.path().join("probe.c"), folder.path().join("probe"));
    let mut text = format!("{prologue}\nint main(void) {{\n");
    for c in expressions {
        writeln!(text, "  printf(\"%lld\\n\", {c});").expect("writing to a string does not fail");
    }
    text.push_str("  return 0;\n}\n");
    std::fs::write(&source, text).expect("the program can be written");
    // Linux's headers name one of the kernel's own, which is not installed and of which the
    // prologue gives the few types they need.
    let interface = folder.path().join("xen/interface");
    std::fs::create_dir_all(&interface).expect("a folder can be made");
    std::fs::write(interface.join("xen.h"), "").expect("a header can be written");
    let mut cc = Command::new("cc");
    cc.arg("-idirafter").arg(folder.path());
    if let Some(include) = include {
        cc.arg("-I").arg(include);
    }
    let compiled = cc.arg("-o").arg(&program).arg(&source).output();
    let compiled = compiled.expect("a C compiler is needed: apt-get install gcc libc6-dev");
    assert!(
        compiled.status.success(),
        "the headers are needed: apt-get install libxen-dev linux-libc-dev\n{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let ran = Command::new(&program).output().expect("the program runs");
    let numbers = String::from_utf8(ran.stdout).expect("the program prints numbers");
    numbers.lines().map(|line| line.parse().expect("the program prints numbers")).collect()
}

fn xen_headers() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("XEN_HEADERS")?);
    // Without this, the compiler would take the system's headers instead.
    let header = folder.join("xen/domctl.h");
    assert!(header.exists(), "XEN_HEADERS is wrong: {} does not exist", header.display());
    Some(folder)
}

macro_rules! structure {
    ($table:ident, $c:literal = $ours:ty { $($field:ident: $c_field:literal),* $(,)? }) => {{
        $table.size($c, size_of::<$ours>());
        $($table.offset($c, $c_field, offset_of!($ours, $field));)*
    }};
}

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
        0x17 => create_domain!(domctl::CreateDomain17),
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
    structure!(t, "struct xen_domctl_max_mem" = domctl::MaxMem { max_memkb: "max_memkb" });
    structure!(t, "struct xen_domctl_max_vcpus" = domctl::MaxVcpus { max: "max" });
    structure!(
        t,
        "struct xen_domctl_settimeoffset" =
            domctl::SetTimeOffset { time_offset_seconds: "time_offset_seconds" }
    );
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
        ("XEN_DOMCTL_settimeoffset", domctl::XEN_DOMCTL_SETTIMEOFFSET),
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
        ("XEN_SYSCTL_INTERFACE_VERSION", sysctl::XEN_SYSCTL_INTERFACE_VERSION),
        ("XEN_SYSCTL_readconsole", sysctl::XEN_SYSCTL_READCONSOLE),
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
    structure!(
        t,
        "struct xen_sysctl_readconsole" = sysctl::ReadConsole {
            clear: "clear",
            incremental: "incremental",
            index: "index",
            buffer: "buffer",
            count: "count",
        }
    );
    t.compare(PROLOGUE, include.as_deref());
}

#[test]
fn memory_events_grants_and_hvm() {
    let mut t = Table::default();
    structure!(
        t,
        "struct xen_memory_reservation" = memory::MemoryReservation {
            extent_start: "extent_start",
            nr_extents: "nr_extents",
            extent_order: "extent_order",
            mem_flags: "mem_flags",
            domid: "domid",
        }
    );
    structure!(
        t,
        "struct xen_remove_from_physmap" =
            memory::RemoveFromPhysmap { domid: "domid", gpfn: "gpfn" }
    );
    structure!(
        t,
        "struct xen_foreign_memory_map" = memory::ForeignMemoryMap {
            domid: "domid",
            nr_entries: "map.nr_entries",
            buffer: "map.buffer",
        }
    );
    structure!(
        t,
        "struct evtchn_status" = event::EvtchnStatus {
            dom: "dom",
            port: "port",
            status: "status",
            vcpu: "vcpu",
            u_dom: "u.interdomain.dom",
            u_port: "u.interdomain.port",
        }
    );
    t.offset("struct evtchn_status", "u.unbound.dom", offset_of!(event::EvtchnStatus, u_dom));
    structure!(
        t,
        "struct xen_hvm_param" = hvm::HvmParam { domid: "domid", index: "index", value: "value" }
    );
    structure!(t, "struct xen_dm_op_buf" = hvm::DmOpBuf { h: "h", size: "size" });
    structure!(
        t,
        "struct evtchn_alloc_unbound" =
            event::AllocUnbound { dom: "dom", remote_dom: "remote_dom", port: "port" }
    );
    structure!(
        t,
        "struct sched_remote_shutdown" =
            sys::SchedRemoteShutdown { domain_id: "domain_id", reason: "reason" }
    );
    t.size("grant_entry_v1_t", grant::GRANT_ENTRY_V1_SIZE);
    t.offset("grant_entry_v1_t", "domid", grant::GRANT_ENTRY_DOMID);
    t.offset("grant_entry_v1_t", "frame", grant::GRANT_ENTRY_FRAME);
    let set_mem_type = "struct xen_dm_op";
    t.offset(set_mem_type, "u.set_mem_type.nr", offset_of!(hvm::DmOpSetMemType, nr));
    t.offset(set_mem_type, "u.set_mem_type.mem_type", offset_of!(hvm::DmOpSetMemType, mem_type));
    t.offset(set_mem_type, "u.set_mem_type.first_pfn", offset_of!(hvm::DmOpSetMemType, first_pfn));
    t.value(
        "offsetof(struct xen_dm_op, u) + sizeof(struct xen_dm_op_set_mem_type)",
        size_of::<hvm::DmOpSetMemType>(),
    );
    structure!(
        t,
        "struct hvm_save_descriptor" =
            hvm::SaveDescriptor { typecode: "typecode", instance: "instance", length: "length" }
    );
    structure!(
        t,
        "struct hvm_save_header" = hvm::SaveHeader {
            magic: "magic",
            version: "version",
            cpuid: "cpuid",
            gtsc_khz: "gtsc_khz",
        }
    );
    structure!(
        t,
        "struct hvm_hw_mtrr" = hvm::HwMtrr {
            msr_pat_cr: "msr_pat_cr",
            msr_mtrr_var: "msr_mtrr_var",
            msr_mtrr_fixed: "msr_mtrr_fixed",
            msr_mtrr_cap: "msr_mtrr_cap",
            msr_mtrr_def_type: "msr_mtrr_def_type",
        }
    );
    let cpu = "struct hvm_hw_cpu";
    t.size(cpu, hvm::hw_cpu::SIZE);
    for (field, ours) in [
        ("rbx", hvm::hw_cpu::RBX),
        ("rip", hvm::hw_cpu::RIP),
        ("cr0", hvm::hw_cpu::CR0),
        ("dr6", hvm::hw_cpu::DR6),
        ("dr7", hvm::hw_cpu::DR7),
        ("cs_limit", hvm::hw_cpu::CS_LIMIT),
        ("ds_limit", hvm::hw_cpu::DS_LIMIT),
        ("es_limit", hvm::hw_cpu::ES_LIMIT),
        ("ss_limit", hvm::hw_cpu::SS_LIMIT),
        ("tr_limit", hvm::hw_cpu::TR_LIMIT),
        ("cs_arbytes", hvm::hw_cpu::CS_ARBYTES),
        ("ds_arbytes", hvm::hw_cpu::DS_ARBYTES),
        ("es_arbytes", hvm::hw_cpu::ES_ARBYTES),
        ("ss_arbytes", hvm::hw_cpu::SS_ARBYTES),
        ("tr_arbytes", hvm::hw_cpu::TR_ARBYTES),
    ] {
        t.offset(cpu, field, ours);
    }
    for (c, ours) in [
        ("__HYPERVISOR_xen_version", sys::HYPERVISOR_XEN_VERSION),
        ("__HYPERVISOR_memory_op", sys::HYPERVISOR_MEMORY_OP),
        ("__HYPERVISOR_sched_op", sys::HYPERVISOR_SCHED_OP),
        ("__HYPERVISOR_event_channel_op", sys::HYPERVISOR_EVENT_CHANNEL_OP),
        ("__HYPERVISOR_hvm_op", sys::HYPERVISOR_HVM_OP),
        ("__HYPERVISOR_sysctl", sys::HYPERVISOR_SYSCTL),
        ("__HYPERVISOR_dm_op", sys::HYPERVISOR_DM_OP),
        ("__HYPERVISOR_domctl", sys::HYPERVISOR_DOMCTL),
        ("XENVER_version", sys::XENVER_VERSION),
        ("XENMEM_decrease_reservation", memory::XENMEM_DECREASE_RESERVATION),
        ("XENMEM_remove_from_physmap", memory::XENMEM_REMOVE_FROM_PHYSMAP),
        ("XENMEM_set_memory_map", memory::XENMEM_SET_MEMORY_MAP),
        ("EVTCHNOP_status", event::EVTCHNOP_STATUS),
        ("HVMOP_set_param", hvm::HVMOP_SET_PARAM),
        ("HVMOP_get_param", hvm::HVMOP_GET_PARAM),
        ("XENMEM_populate_physmap", memory::XENMEM_POPULATE_PHYSMAP),
        ("EVTCHNOP_alloc_unbound", event::EVTCHNOP_ALLOC_UNBOUND),
        ("SCHEDOP_remote_shutdown", sys::SCHEDOP_REMOTE_SHUTDOWN),
    ] {
        t.value(c, ours);
    }
    for (c, ours) in [
        ("VIRQ_DOM_EXC", sys::VIRQ_DOM_EXC),
        ("DOMID_SELF", u32::from(sys::DOMID_SELF)),
        ("SHUTDOWN_poweroff", sys::SHUTDOWN_POWEROFF),
        ("SHUTDOWN_reboot", sys::SHUTDOWN_REBOOT),
        ("SHUTDOWN_suspend", sys::SHUTDOWN_SUSPEND),
        ("SHUTDOWN_crash", sys::SHUTDOWN_CRASH),
        ("SHUTDOWN_watchdog", sys::SHUTDOWN_WATCHDOG),
        ("SHUTDOWN_soft_reset", sys::SHUTDOWN_SOFT_RESET),
        ("EVTCHNSTAT_closed", event::EVTCHNSTAT_CLOSED),
        ("EVTCHNSTAT_unbound", event::EVTCHNSTAT_UNBOUND),
        ("EVTCHNSTAT_interdomain", event::EVTCHNSTAT_INTERDOMAIN),
        ("EVTCHNSTAT_pirq", event::EVTCHNSTAT_PIRQ),
        ("EVTCHNSTAT_virq", event::EVTCHNSTAT_VIRQ),
        ("EVTCHNSTAT_ipi", event::EVTCHNSTAT_IPI),
        ("HVM_PARAM_CALLBACK_IRQ", hvm::HVM_PARAM_CALLBACK_IRQ),
        ("HVM_PARAM_STORE_PFN", hvm::HVM_PARAM_STORE_PFN),
        ("HVM_PARAM_STORE_EVTCHN", hvm::HVM_PARAM_STORE_EVTCHN),
        ("HVM_PARAM_CONSOLE_PFN", hvm::HVM_PARAM_CONSOLE_PFN),
        ("HVM_PARAM_CONSOLE_EVTCHN", hvm::HVM_PARAM_CONSOLE_EVTCHN),
        ("HVM_PARAM_TRIPLE_FAULT_REASON", hvm::HVM_PARAM_TRIPLE_FAULT_REASON),
        ("XEN_DMOP_set_mem_type", hvm::XEN_DMOP_SET_MEM_TYPE),
        ("HVMMEM_ram_rw", u32::from(hvm::HVMMEM_RAM_RW)),
        ("HVMMEM_ram_ro", u32::from(hvm::HVMMEM_RAM_RO)),
        ("HVM_FILE_MAGIC", hvm::HVM_FILE_MAGIC),
        ("HVM_FILE_VERSION", hvm::HVM_FILE_VERSION),
        ("HVM_SAVE_CODE(END)", u32::from(hvm::HVM_SAVE_CODE_END)),
        ("HVM_SAVE_CODE(HEADER)", u32::from(hvm::HVM_SAVE_CODE_HEADER)),
        ("HVM_SAVE_CODE(CPU)", u32::from(hvm::HVM_SAVE_CODE_CPU)),
        ("HVM_SAVE_CODE(MTRR)", u32::from(hvm::HVM_SAVE_CODE_MTRR)),
        ("GTF_permit_access", u32::from(grant::GTF_PERMIT_ACCESS)),
        ("GTF_readonly", u32::from(grant::GTF_READONLY)),
        ("XENMEM_resource_grant_table", privcmd::XENMEM_RESOURCE_GRANT_TABLE),
        ("GNTCOPY_source_gref", u32::from(gntdev::GNTCOPY_SOURCE_GREF)),
        ("GNTCOPY_dest_gref", u32::from(gntdev::GNTCOPY_DEST_GREF)),
    ] {
        t.value(c, ours);
    }
    for (c, ours) in [
        ("GNTST_okay", grant::GNTST_OKAY),
        ("GNTST_general_error", grant::GNTST_GENERAL_ERROR),
        ("GNTST_bad_domain", grant::GNTST_BAD_DOMAIN),
        ("GNTST_bad_gntref", grant::GNTST_BAD_GNTREF),
        ("GNTST_permission_denied", grant::GNTST_PERMISSION_DENIED),
        ("GNTST_bad_page", grant::GNTST_BAD_PAGE),
        ("GNTST_bad_copy_arg", grant::GNTST_BAD_COPY_ARG),
        ("GNTST_eagain", grant::GNTST_EAGAIN),
    ] {
        t.value(c, ours);
    }
    t.compare(PROLOGUE, xen_headers().as_deref());
}

#[test]
fn linux_devices() {
    let mut t = Table::default();
    structure!(t, "struct privcmd_hypercall" = privcmd::PrivcmdHypercall { op: "op", arg: "arg" });
    structure!(
        t,
        "struct privcmd_mmapbatch_v2" = privcmd::PrivcmdMmapbatchV2 {
            num: "num",
            dom: "dom",
            addr: "addr",
            arr: "arr",
            err: "err",
        }
    );
    structure!(
        t,
        "struct privcmd_dm_op_buf" = privcmd::PrivcmdDmOpBuf { uptr: "uptr", size: "size" }
    );
    structure!(
        t,
        "struct privcmd_dm_op" = privcmd::PrivcmdDmOp { dom: "dom", num: "num", ubufs: "ubufs" }
    );
    structure!(
        t,
        "struct privcmd_mmap_resource" = privcmd::PrivcmdMmapResource {
            dom: "dom",
            kind: "type",
            id: "id",
            idx: "idx",
            num: "num",
            addr: "addr",
        }
    );
    structure!(
        t,
        "struct ioctl_evtchn_bind_interdomain" =
            evtchn::BindInterdomain { remote_domain: "remote_domain", remote_port: "remote_port" }
    );
    structure!(t, "struct ioctl_evtchn_bind_virq" = evtchn::BindVirq { virq: "virq" });
    structure!(t, "struct ioctl_evtchn_unbind" = evtchn::LocalPort { port: "port" });
    structure!(t, "struct ioctl_evtchn_notify" = evtchn::LocalPort { port: "port" });
    t.offset("struct ioctl_gntdev_map_grant_ref", "refs", size_of::<gntdev::GntdevMapHeader>());
    structure!(
        t,
        "struct ioctl_gntdev_grant_ref" =
            gntdev::GntdevGrantRef { domid: "domid", reference: "ref" }
    );
    structure!(
        t,
        "struct ioctl_gntdev_unmap_grant_ref" =
            gntdev::GntdevUnmap { index: "index", count: "count" }
    );
    structure!(
        t,
        "struct ioctl_gntdev_grant_copy" =
            gntdev::GntdevGrantCopy { count: "count", segments: "segments" }
    );
    structure!(
        t,
        "struct gntdev_grant_copy_segment" = gntdev::GntdevCopySegment {
            source: "source",
            dest: "dest",
            len: "len",
            flags: "flags",
            status: "status",
        }
    );
    let foreign = "struct gntdev_grant_copy_segment";
    t.offset(foreign, "source.foreign.ref", offset_of!(gntdev::GntdevForeign, reference));
    t.offset(foreign, "source.foreign.offset", offset_of!(gntdev::GntdevForeign, offset));
    t.offset(foreign, "source.foreign.domid", offset_of!(gntdev::GntdevForeign, domid));
    for (c, ours) in [
        ("IOCTL_PRIVCMD_HYPERCALL", privcmd::IOCTL_PRIVCMD_HYPERCALL),
        ("IOCTL_PRIVCMD_MMAPBATCH_V2", privcmd::IOCTL_PRIVCMD_MMAPBATCH_V2),
        ("IOCTL_PRIVCMD_DM_OP", privcmd::IOCTL_PRIVCMD_DM_OP),
        ("IOCTL_PRIVCMD_MMAP_RESOURCE", privcmd::IOCTL_PRIVCMD_MMAP_RESOURCE),
        ("IOCTL_EVTCHN_BIND_VIRQ", evtchn::IOCTL_EVTCHN_BIND_VIRQ),
        ("IOCTL_EVTCHN_BIND_INTERDOMAIN", evtchn::IOCTL_EVTCHN_BIND_INTERDOMAIN),
        ("IOCTL_EVTCHN_UNBIND", evtchn::IOCTL_EVTCHN_UNBIND),
        ("IOCTL_EVTCHN_NOTIFY", evtchn::IOCTL_EVTCHN_NOTIFY),
        ("IOCTL_EVTCHN_RESET", evtchn::IOCTL_EVTCHN_RESET),
        ("IOCTL_GNTDEV_MAP_GRANT_REF", gntdev::IOCTL_GNTDEV_MAP_GRANT_REF),
        ("IOCTL_GNTDEV_UNMAP_GRANT_REF", gntdev::IOCTL_GNTDEV_UNMAP_GRANT_REF),
        ("IOCTL_GNTDEV_GRANT_COPY", gntdev::IOCTL_GNTDEV_GRANT_COPY),
    ] {
        t.value(c, ours);
    }
    t.compare(LINUX_PROLOGUE, None);
}
