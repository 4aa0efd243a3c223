//! dom0's side of Xen, without libxc: hypercalls through `/dev/xen/privcmd`, mappings of guests'
//! memory, event channels and grants.
//!
//! Xen 4.17 to 4.20 on x86-64. The interface version is probed once ([`Xen::open`]); another one is
//! refused by its number.
//!
//! * [`sys`] is the raw ABI, checked against Xen's and Linux's C headers by `tests/headers.rs`.
//! * [`units`] are the types that keep frames, pages, ports and grant references apart.
//! * [`Xen`] makes hypercalls; its methods are in [`domain`], [`memory`], [`hvm`], [`event`] and
//!   [`sysctl`] by subject.
//! * [`foreign`] maps guests' memory, [`evtchn`] and [`gntdev`] are the kernel's devices for event
//!   channels and grants. The last two need no privilege but an open file, so that a backend can
//!   give up root.
//!
//! `unsafe` is confined to the modules that talk to the kernel: `device`, [`foreign`], [`evtchn`],
//! [`gntdev`] and `mapping`. Each opts in at its top and says why.

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
mod mapping;
pub mod memory;
pub mod sys;
pub mod sysctl;
pub mod units;

pub use error::Error;
pub use hypercall::Xen;
