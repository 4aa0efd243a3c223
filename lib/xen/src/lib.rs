// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's side of Xen, without libxc: hypercalls through `/dev/xen/privcmd`, mappings of guests'
//! memory, event channels and grants.
//!
//! Supports Xen 4.17 to 4.22 on x86-64. [`Xen::open`] probes the interface version and refuses any
//! other.
//!
//! * [`linux`] is the kernel's raw interface; Xen's own is the crate [`xen_abi`].
//! * [`units`] are the types that keep frames, pages, ports and grant references apart.
//! * [`Xen`] makes hypercalls; its methods are in modules by subject: [`domain`], [`memory`],
//!   [`hvm`] and [`event`] for guests; [`vcpu`], [`sched`] and [`cpupool`] for who runs where, and
//!   [`vcpu_state`] for the registers;
//!   [`sysctl`], [`topology`], [`pci`], [`version`] and [`console`] for the machine and Xen itself. It
//!   refuses calls that would crash the host: events and HVM state of a domain without vCPUs, and
//!   operations on guests that name dom0 instead. Affinity and shares of dom0 may be set.
//! * [`foreign`] maps guests' memory; [`evtchn`] and [`gntdev`] are the kernel's devices for event
//!   channels and grants. Once their files are open, these two need no privilege, so a backend can
//!   give up root.
//!
//! `unsafe` is confined to `argument` (which structures hold addresses), [`hypercall`], and the
//! modules that call the kernel: `device`, `mapping`, `copy`, [`foreign`], [`evtchn`] and
//! [`gntdev`]. Each opts in at its top and says why.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("only Xen on x86-64 is supported");

mod arena;
mod argument;
pub mod console;
mod copy;
pub mod cpu_map;
pub mod cpupool;
mod device;
pub mod domain;
mod error;
pub mod event;
pub mod evtchn;
pub mod foreign;
pub mod gntdev;
pub mod hvm;
pub mod hvm_context;
pub mod hypercall;
pub mod linux;
mod mapping;
pub mod memory;
pub mod pci;
mod placement;
pub mod sched;
pub mod sysctl;
pub mod topology;
pub mod units;
pub mod vcpu;
pub mod vcpu_state;
pub mod version;

pub use error::Error;
pub use hypercall::Xen;
