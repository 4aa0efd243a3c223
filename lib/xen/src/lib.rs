//! dom0's side of Xen, without libxc: hypercalls through `/dev/xen/privcmd`, mappings of guests'
//! memory, event channels and grants.
//!
//! Xen 4.17 to 4.20 on x86-64. The interface version is probed once ([`Xen::open`]); another one is
//! refused by its number.
//!
//! * [`linux`] is the kernel's raw interface; Xen's own is the crate [`xen_abi`].
//! * [`units`] are the types that keep frames, pages, ports and grant references apart.
//! * [`Xen`] makes hypercalls; its methods are in [`domain`], [`memory`], [`hvm`], [`event`] and
//!   [`sysctl`] by subject. What would take down the host is refused before Xen sees it: events and
//!   state of a domain without vCPUs, and whatever is meant for a guest but names dom0.
//! * [`foreign`] maps guests' memory, [`evtchn`] and [`gntdev`] are the kernel's devices for event
//!   channels and grants. The last two need no privilege but an open file, so that a backend can
//!   give up root.
//!
//! `unsafe` is confined to `argument` (which structures hold addresses), [`hypercall`], and the
//! modules that talk to the kernel: `device`, `mapping`, [`foreign`], [`evtchn`] and [`gntdev`]. Each
//! opts in at its top and says why.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("only Xen on x86-64 is supported");

mod arena;
mod argument;
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
pub mod sysctl;
pub mod units;

pub use error::Error;
pub use hypercall::Xen;
