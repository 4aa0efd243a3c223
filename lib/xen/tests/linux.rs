// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares the kernel's interface (`xen::linux`) with Linux's C headers (`linux-libc-dev`): sizes,
//! offsets and constants.

#[path = "../../xen-abi/tests/headers/c.rs"]
mod c;

use std::mem::{offset_of, size_of};

use xen::linux::{evtchn, gntdev, privcmd};

use self::c::{Table, structure};

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
