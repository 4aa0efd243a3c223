// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers of hypercalls and virtual interrupts: `public/xen.h` and `public/version.h`.

pub const HYPERVISOR_MEMORY_OP: u64 = 12;
pub const HYPERVISOR_XEN_VERSION: u64 = 17;
pub const HYPERVISOR_SCHED_OP: u64 = 29;
pub const HYPERVISOR_EVENT_CHANNEL_OP: u64 = 32;
pub const HYPERVISOR_HVM_OP: u64 = 34;
pub const HYPERVISOR_SYSCTL: u64 = 35;
pub const HYPERVISOR_DOMCTL: u64 = 36;
pub const HYPERVISOR_DM_OP: u64 = 41;

/// Command of [`HYPERVISOR_XEN_VERSION`] that returns the major and minor version in one word.
pub const XENVER_VERSION: u64 = 0;

/// The virtual interrupt that notifies the toolstack that a domain has shut down or was destroyed.
pub const VIRQ_DOM_EXC: u32 = 3;
