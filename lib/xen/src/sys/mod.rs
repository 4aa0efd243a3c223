//! The raw ABI: structures, numbers and offsets as Xen 4.17 to 4.20 and Linux have them.
//!
//! Each file mirrors one header and says which. `tests/headers.rs` compares all of it with the C
//! headers. Structures are plain data without hidden padding, which `zerocopy` checks, and have the
//! names and fields of the headers, so that a reader can look them up; that is why the fields bear
//! no further words here.
#![allow(missing_docs)]

use zerocopy::{FromBytes, Immutable, IntoBytes};

pub mod domctl;
pub mod event;
pub mod evtchn;
pub mod gntdev;
pub mod grant;
pub mod hvm;
pub mod memory;
pub mod privcmd;
pub mod sysctl;

/// Hypercall numbers (`public/xen.h`).
pub const HYPERVISOR_XEN_VERSION: u64 = 17;
pub const HYPERVISOR_MEMORY_OP: u64 = 12;
pub const HYPERVISOR_SCHED_OP: u64 = 29;
pub const HYPERVISOR_EVENT_CHANNEL_OP: u64 = 32;
pub const HYPERVISOR_HVM_OP: u64 = 34;
pub const HYPERVISOR_SYSCTL: u64 = 35;
pub const HYPERVISOR_DOMCTL: u64 = 36;
pub const HYPERVISOR_DM_OP: u64 = 41;

/// `XENVER_version` (`public/version.h`).
pub const XENVER_VERSION: u64 = 0;

/// `VIRQ_DOM_EXC` (`public/xen.h`).
pub const VIRQ_DOM_EXC: u32 = 3;

/// `SCHEDOP_remote_shutdown` (`public/sched.h`).
pub const SCHEDOP_REMOTE_SHUTDOWN: u64 = 4;

/// `DOMID_SELF` (`public/xen.h`).
pub const DOMID_SELF: u16 = 0x7ff0;

/// Shutdown reasons (`public/sched.h`).
pub const SHUTDOWN_POWEROFF: u32 = 0;
pub const SHUTDOWN_REBOOT: u32 = 1;
pub const SHUTDOWN_SUSPEND: u32 = 2;
pub const SHUTDOWN_CRASH: u32 = 3;
pub const SHUTDOWN_WATCHDOG: u32 = 4;
pub const SHUTDOWN_SOFT_RESET: u32 = 5;

/// `struct sched_remote_shutdown` (`public/sched.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct SchedRemoteShutdown {
    pub domain_id: u16,
    pub pad: u16,
    pub reason: u32,
}

/// An ioctl number without direction (`_IOC(_IOC_NONE, type, nr, size)`), as all of Xen's are.
#[must_use]
pub const fn ioc(kind: u8, number: u8, size: usize) -> u64 {
    (size as u64) << 16 | (kind as u64) << 8 | number as u64
}
