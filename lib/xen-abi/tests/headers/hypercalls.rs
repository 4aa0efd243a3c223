// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls that each domain may make, and the HVM state.

use std::mem::{offset_of, size_of};

use xen_abi::{event_channel, grant_table, hvm, hypercall, memory, sched};

use crate::c::{Table, structure};
use crate::{PROLOGUE, xen_headers};

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
        "struct xen_memory_reservation" = memory::PageClaim {
            extent_start: "extent_start",
            nr_extents: "nr_extents",
            extent_order: "extent_order",
            mem_flags: "mem_flags",
            domid: "domid",
        }
    );
    structure!(
        t,
        "struct xen_add_to_physmap" = memory::AddToPhysmap {
            domid: "domid",
            size: "size",
            space: "space",
            idx: "idx",
            gpfn: "gpfn",
        }
    );
    structure!(t, "struct evtchn_close" = event_channel::EvtchnClose { port: "port" });
    structure!(t, "struct evtchn_send" = event_channel::EvtchnSend { port: "port" });
    structure!(t, "struct sched_shutdown" = sched::SchedShutdown { reason: "reason" });
    structure!(
        t,
        "struct sched_poll" =
            sched::SchedPoll { ports: "ports", nr_ports: "nr_ports", timeout: "timeout" }
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
        "struct evtchn_status" = event_channel::EvtchnStatus {
            dom: "dom",
            port: "port",
            status: "status",
            vcpu: "vcpu",
            u_dom: "u.interdomain.dom",
            u_port: "u.interdomain.port",
        }
    );
    t.offset(
        "struct evtchn_status",
        "u.unbound.dom",
        offset_of!(event_channel::EvtchnStatus, u_dom),
    );
    structure!(
        t,
        "struct xen_hvm_param" = hvm::HvmParam { domid: "domid", index: "index", value: "value" }
    );
    structure!(t, "struct xen_dm_op_buf" = hvm::DmOpBuf { h: "h", size: "size" });
    structure!(
        t,
        "struct evtchn_alloc_unbound" =
            event_channel::AllocUnbound { dom: "dom", remote_dom: "remote_dom", port: "port" }
    );
    t.size("grant_entry_v1_t", grant_table::GRANT_ENTRY_V1_SIZE);
    t.offset("grant_entry_v1_t", "domid", grant_table::GRANT_ENTRY_DOMID);
    t.offset("grant_entry_v1_t", "frame", grant_table::GRANT_ENTRY_FRAME);
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
    t.size("((struct hvm_hw_cpu *)0)->fpu_regs", hvm::hw_cpu::FPU_REGS_SIZE);
    for (field, ours) in [
        ("fpu_regs", hvm::hw_cpu::FPU_REGS),
        ("rax", hvm::hw_cpu::RAX),
        ("rbx", hvm::hw_cpu::RBX),
        ("rcx", hvm::hw_cpu::RCX),
        ("rdx", hvm::hw_cpu::RDX),
        ("rbp", hvm::hw_cpu::RBP),
        ("rsi", hvm::hw_cpu::RSI),
        ("rdi", hvm::hw_cpu::RDI),
        ("rsp", hvm::hw_cpu::RSP),
        ("r8", hvm::hw_cpu::R8),
        ("rip", hvm::hw_cpu::RIP),
        ("rflags", hvm::hw_cpu::RFLAGS),
        ("cr0", hvm::hw_cpu::CR0),
        ("cr3", hvm::hw_cpu::CR3),
        ("cr4", hvm::hw_cpu::CR4),
        ("dr6", hvm::hw_cpu::DR6),
        ("dr7", hvm::hw_cpu::DR7),
        ("cs_sel", hvm::hw_cpu::CS_SEL),
        ("ds_sel", hvm::hw_cpu::DS_SEL),
        ("es_sel", hvm::hw_cpu::ES_SEL),
        ("fs_sel", hvm::hw_cpu::FS_SEL),
        ("gs_sel", hvm::hw_cpu::GS_SEL),
        ("ss_sel", hvm::hw_cpu::SS_SEL),
        ("cs_limit", hvm::hw_cpu::CS_LIMIT),
        ("ds_limit", hvm::hw_cpu::DS_LIMIT),
        ("es_limit", hvm::hw_cpu::ES_LIMIT),
        ("ss_limit", hvm::hw_cpu::SS_LIMIT),
        ("tr_limit", hvm::hw_cpu::TR_LIMIT),
        ("fs_base", hvm::hw_cpu::FS_BASE),
        ("gs_base", hvm::hw_cpu::GS_BASE),
        ("cs_arbytes", hvm::hw_cpu::CS_ARBYTES),
        ("ds_arbytes", hvm::hw_cpu::DS_ARBYTES),
        ("es_arbytes", hvm::hw_cpu::ES_ARBYTES),
        ("ss_arbytes", hvm::hw_cpu::SS_ARBYTES),
        ("tr_arbytes", hvm::hw_cpu::TR_ARBYTES),
        ("msr_efer", hvm::hw_cpu::MSR_EFER),
    ] {
        t.offset(cpu, field, ours);
    }
    for (c, ours) in [
        ("__HYPERVISOR_xen_version", hypercall::HYPERVISOR_XEN_VERSION),
        ("__HYPERVISOR_memory_op", hypercall::HYPERVISOR_MEMORY_OP),
        ("__HYPERVISOR_sched_op", hypercall::HYPERVISOR_SCHED_OP),
        ("__HYPERVISOR_event_channel_op", hypercall::HYPERVISOR_EVENT_CHANNEL_OP),
        ("__HYPERVISOR_hvm_op", hypercall::HYPERVISOR_HVM_OP),
        ("__HYPERVISOR_sysctl", hypercall::HYPERVISOR_SYSCTL),
        ("__HYPERVISOR_dm_op", hypercall::HYPERVISOR_DM_OP),
        ("__HYPERVISOR_domctl", hypercall::HYPERVISOR_DOMCTL),
        ("XENMEM_add_to_physmap", memory::XENMEM_ADD_TO_PHYSMAP),
        ("SCHEDOP_shutdown", sched::SCHEDOP_SHUTDOWN),
        ("SCHEDOP_poll", sched::SCHEDOP_POLL),
        ("EVTCHNOP_close", event_channel::EVTCHNOP_CLOSE),
        ("EVTCHNOP_send", event_channel::EVTCHNOP_SEND),
        ("XENMEM_decrease_reservation", memory::XENMEM_DECREASE_RESERVATION),
        ("XENMEM_set_memory_map", memory::XENMEM_SET_MEMORY_MAP),
        ("XENMEM_claim_pages", memory::XENMEM_CLAIM_PAGES),
        ("XENMEM_maximum_gpfn", memory::XENMEM_MAXIMUM_GPFN),
        ("EVTCHNOP_status", event_channel::EVTCHNOP_STATUS),
        ("HVMOP_set_param", hvm::HVMOP_SET_PARAM),
        ("HVMOP_get_param", hvm::HVMOP_GET_PARAM),
        ("XENMEM_populate_physmap", memory::XENMEM_POPULATE_PHYSMAP),
        ("EVTCHNOP_alloc_unbound", event_channel::EVTCHNOP_ALLOC_UNBOUND),
    ] {
        t.value(c, ours);
    }
    for (c, ours) in [
        ("VIRQ_DOM_EXC", hypercall::VIRQ_DOM_EXC),
        ("DOMID_FIRST_RESERVED", u32::from(xen_abi::DOMID_FIRST_RESERVED)),
        ("XENMAPSPACE_shared_info", memory::XENMAPSPACE_SHARED_INFO),
        ("XENMAPSPACE_grant_table", memory::XENMAPSPACE_GRANT_TABLE),
        ("XENMEM_resource_grant_table_id_shared", memory::XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED),
        ("GNTTAB_NR_RESERVED_ENTRIES", grant_table::GNTTAB_NR_RESERVED_ENTRIES),
        ("GNTTAB_RESERVED_CONSOLE", grant_table::GNTTAB_RESERVED_CONSOLE),
        ("GNTTAB_RESERVED_XENSTORE", grant_table::GNTTAB_RESERVED_XENSTORE),
        ("DOMID_INVALID", u32::from(xen_abi::DOMID_INVALID)),
        ("DOMID_SELF", u32::from(xen_abi::DOMID_SELF)),
        ("SHUTDOWN_poweroff", sched::SHUTDOWN_POWEROFF),
        ("SHUTDOWN_reboot", sched::SHUTDOWN_REBOOT),
        ("SHUTDOWN_suspend", sched::SHUTDOWN_SUSPEND),
        ("SHUTDOWN_crash", sched::SHUTDOWN_CRASH),
        ("SHUTDOWN_watchdog", sched::SHUTDOWN_WATCHDOG),
        ("SHUTDOWN_soft_reset", sched::SHUTDOWN_SOFT_RESET),
        ("EVTCHNSTAT_closed", event_channel::EVTCHNSTAT_CLOSED),
        ("EVTCHNSTAT_unbound", event_channel::EVTCHNSTAT_UNBOUND),
        ("EVTCHNSTAT_interdomain", event_channel::EVTCHNSTAT_INTERDOMAIN),
        ("EVTCHNSTAT_pirq", event_channel::EVTCHNSTAT_PIRQ),
        ("EVTCHNSTAT_virq", event_channel::EVTCHNSTAT_VIRQ),
        ("EVTCHNSTAT_ipi", event_channel::EVTCHNSTAT_IPI),
        ("HVM_PARAM_CALLBACK_IRQ", hvm::HVM_PARAM_CALLBACK_IRQ),
        ("HVM_PARAM_STORE_PFN", hvm::HVM_PARAM_STORE_PFN),
        ("HVM_PARAM_STORE_EVTCHN", hvm::HVM_PARAM_STORE_EVTCHN),
        ("HVM_PARAM_TIMER_MODE", hvm::HVM_PARAM_TIMER_MODE),
        ("HVMPTM_delay_for_missed_ticks", hvm::HVMPTM_DELAY_FOR_MISSED_TICKS),
        ("HVMPTM_no_missed_ticks_pending", hvm::HVMPTM_NO_MISSED_TICKS_PENDING),
        ("HVMPTM_one_missed_tick_pending", hvm::HVMPTM_ONE_MISSED_TICK_PENDING),
        ("HVMPTM_no_delay_for_missed_ticks", hvm::HVMPTM_NO_DELAY_FOR_MISSED_TICKS),
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
        ("GTF_permit_access", u32::from(grant_table::GTF_PERMIT_ACCESS)),
        ("GTF_readonly", u32::from(grant_table::GTF_READONLY)),
        ("XENMEM_resource_grant_table", memory::XENMEM_RESOURCE_GRANT_TABLE),
        ("GNTCOPY_source_gref", u32::from(grant_table::GNTCOPY_SOURCE_GREF)),
        ("GNTCOPY_dest_gref", u32::from(grant_table::GNTCOPY_DEST_GREF)),
    ] {
        t.value(c, ours);
    }
    for (c, ours) in [
        ("GNTST_okay", grant_table::GNTST_OKAY),
        ("GNTST_general_error", grant_table::GNTST_GENERAL_ERROR),
        ("GNTST_bad_domain", grant_table::GNTST_BAD_DOMAIN),
        ("GNTST_bad_gntref", grant_table::GNTST_BAD_GNTREF),
        ("GNTST_permission_denied", grant_table::GNTST_PERMISSION_DENIED),
        ("GNTST_bad_page", grant_table::GNTST_BAD_PAGE),
        ("GNTST_bad_copy_arg", grant_table::GNTST_BAD_COPY_ARG),
        ("GNTST_eagain", grant_table::GNTST_EAGAIN),
    ] {
        t.value(c, ours);
    }
    t.compare(PROLOGUE, xen_headers().as_deref());
}
