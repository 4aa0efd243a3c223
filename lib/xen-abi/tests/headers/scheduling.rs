// SPDX-License-Identifier: MIT OR Apache-2.0
//! vCPUs, schedulers and cpupools.

use std::mem::{offset_of, size_of};

use xen_abi::{domctl, hypercall, sysctl};

use crate::c::{Table, structure};
use crate::{PROLOGUE, xen_headers};

#[test]
fn vcpus_schedulers_and_cpupools() {
    let mut t = Table::default();
    structure!(
        t,
        "struct xenctl_bitmap" = hypercall::Bitmap { bitmap: "bitmap", nr_bits: "nr_bits" }
    );
    structure!(
        t,
        "struct xen_domctl_getvcpuinfo" = domctl::GetVcpuInfo {
            vcpu: "vcpu",
            online: "online",
            blocked: "blocked",
            running: "running",
            cpu_time: "cpu_time",
            cpu: "cpu",
        }
    );
    structure!(
        t,
        "struct xen_domctl_vcpuaffinity" = domctl::VcpuAffinity {
            vcpu: "vcpu",
            flags: "flags",
            cpumap_hard: "cpumap_hard",
            cpumap_soft: "cpumap_soft",
        }
    );
    structure!(t, "struct xen_domctl_nodeaffinity" = domctl::NodeAffinity { nodemap: "nodemap" });
    structure!(
        t,
        "struct xen_domctl_scheduler_op" = domctl::SchedulerOp {
            sched_id: "sched_id",
            cmd: "cmd",
            weight: "u.credit.weight",
            cap: "u.credit.cap",
        }
    );
    let op = "struct xen_domctl_scheduler_op";
    t.offset(op, "u.credit2.weight", offset_of!(domctl::SchedulerOp, weight));
    t.offset(op, "u.credit2.cap", offset_of!(domctl::SchedulerOp, cap));
    structure!(
        t,
        "struct xen_domctl_sendtrigger" = domctl::SendTrigger { trigger: "trigger", vcpu: "vcpu" }
    );
    structure!(t, "struct xen_sysctl_sched_id" = sysctl::SchedId { sched_id: "sched_id" });
    structure!(
        t,
        "struct xen_sysctl_cpupool_op" = sysctl::CpupoolOp {
            op: "op",
            cpupool_id: "cpupool_id",
            sched_id: "sched_id",
            domid: "domid",
            cpu: "cpu",
            n_dom: "n_dom",
            cpumap: "cpumap",
        }
    );
    structure!(
        t,
        "struct xen_sysctl_scheduler_op" = sysctl::SchedulerOp {
            cpupool_id: "cpupool_id",
            sched_id: "sched_id",
            cmd: "cmd",
            params: "u",
        }
    );
    let op = "struct xen_sysctl_scheduler_op";
    let params = offset_of!(sysctl::SchedulerOp, params);
    for (field, index) in [
        ("u.sched_credit.tslice_ms", sysctl::CREDIT_TSLICE_MS),
        ("u.sched_credit.ratelimit_us", sysctl::CREDIT_RATELIMIT_US),
        ("u.sched_credit.vcpu_migr_delay_us", sysctl::CREDIT_VCPU_MIGR_DELAY_US),
        ("u.sched_credit2.ratelimit_us", sysctl::CREDIT2_RATELIMIT_US),
    ] {
        t.offset(op, field, params + index * size_of::<u32>());
    }
    for (c, ours) in [
        ("XEN_DOMCTL_setvcpuaffinity", domctl::XEN_DOMCTL_SETVCPUAFFINITY),
        ("XEN_DOMCTL_getvcpuaffinity", domctl::XEN_DOMCTL_GETVCPUAFFINITY),
        ("XEN_DOMCTL_getnodeaffinity", domctl::XEN_DOMCTL_GETNODEAFFINITY),
        ("XEN_DOMCTL_getvcpuinfo", domctl::XEN_DOMCTL_GETVCPUINFO),
        ("XEN_DOMCTL_scheduler_op", domctl::XEN_DOMCTL_SCHEDULER_OP),
        ("XEN_DOMCTL_sendtrigger", domctl::XEN_DOMCTL_SENDTRIGGER),
        ("XEN_X86_EMU_PM", domctl::XEN_X86_EMU_PM),
        ("XEN_VCPUAFFINITY_HARD", domctl::XEN_VCPUAFFINITY_HARD),
        ("XEN_VCPUAFFINITY_SOFT", domctl::XEN_VCPUAFFINITY_SOFT),
        ("XEN_VCPUAFFINITY_FORCE", domctl::XEN_VCPUAFFINITY_FORCE),
        ("XEN_SCHEDULER_CREDIT", domctl::XEN_SCHEDULER_CREDIT),
        ("XEN_SCHEDULER_CREDIT2", domctl::XEN_SCHEDULER_CREDIT2),
        ("XEN_SCHEDULER_ARINC653", domctl::XEN_SCHEDULER_ARINC653),
        ("XEN_SCHEDULER_RTDS", domctl::XEN_SCHEDULER_RTDS),
        ("XEN_SCHEDULER_NULL", domctl::XEN_SCHEDULER_NULL),
        ("XEN_DOMCTL_SCHEDOP_putinfo", domctl::XEN_DOMCTL_SCHEDOP_PUTINFO),
        ("XEN_DOMCTL_SCHEDOP_getinfo", domctl::XEN_DOMCTL_SCHEDOP_GETINFO),
        ("XEN_DOMCTL_SENDTRIGGER_NMI", domctl::XEN_DOMCTL_SENDTRIGGER_NMI),
        ("XEN_DOMCTL_SENDTRIGGER_RESET", domctl::XEN_DOMCTL_SENDTRIGGER_RESET),
        ("XEN_DOMCTL_SENDTRIGGER_INIT", domctl::XEN_DOMCTL_SENDTRIGGER_INIT),
        ("XEN_DOMCTL_SENDTRIGGER_POWER", domctl::XEN_DOMCTL_SENDTRIGGER_POWER),
        ("XEN_DOMCTL_SENDTRIGGER_SLEEP", domctl::XEN_DOMCTL_SENDTRIGGER_SLEEP),
        ("XEN_SYSCTL_sched_id", sysctl::XEN_SYSCTL_SCHED_ID),
        ("XEN_SYSCTL_cpupool_op", sysctl::XEN_SYSCTL_CPUPOOL_OP),
        ("XEN_SYSCTL_CPUPOOL_OP_CREATE", sysctl::XEN_SYSCTL_CPUPOOL_OP_CREATE),
        ("XEN_SYSCTL_CPUPOOL_OP_DESTROY", sysctl::XEN_SYSCTL_CPUPOOL_OP_DESTROY),
        ("XEN_SYSCTL_CPUPOOL_OP_INFO", sysctl::XEN_SYSCTL_CPUPOOL_OP_INFO),
        ("XEN_SYSCTL_CPUPOOL_OP_ADDCPU", sysctl::XEN_SYSCTL_CPUPOOL_OP_ADDCPU),
        ("XEN_SYSCTL_CPUPOOL_OP_RMCPU", sysctl::XEN_SYSCTL_CPUPOOL_OP_RMCPU),
        ("XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN", sysctl::XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN),
        ("XEN_SYSCTL_CPUPOOL_OP_FREEINFO", sysctl::XEN_SYSCTL_CPUPOOL_OP_FREEINFO),
        ("XEN_SYSCTL_CPUPOOL_PAR_ANY", sysctl::XEN_SYSCTL_CPUPOOL_PAR_ANY),
        ("XEN_SYSCTL_scheduler_op", sysctl::XEN_SYSCTL_SCHEDULER_OP),
        ("XEN_SYSCTL_SCHEDOP_putinfo", sysctl::XEN_SYSCTL_SCHEDOP_PUTINFO),
        ("XEN_SYSCTL_SCHEDOP_getinfo", sysctl::XEN_SYSCTL_SCHEDOP_GETINFO),
        ("XEN_SYSCTL_CSCHED_TSLICE_MAX", sysctl::XEN_SYSCTL_CSCHED_TSLICE_MAX),
        ("XEN_SYSCTL_CSCHED_TSLICE_MIN", sysctl::XEN_SYSCTL_CSCHED_TSLICE_MIN),
        ("XEN_SYSCTL_SCHED_RATELIMIT_MAX", sysctl::XEN_SYSCTL_SCHED_RATELIMIT_MAX),
        ("XEN_SYSCTL_SCHED_RATELIMIT_MIN", sysctl::XEN_SYSCTL_SCHED_RATELIMIT_MIN),
        ("XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US", sysctl::XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US),
    ] {
        t.value(c, ours);
    }
    t.compare(PROLOGUE, xen_headers().as_deref());
}
