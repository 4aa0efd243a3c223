// SPDX-License-Identifier: GPL-3.0-or-later
//! A small framework with which a whole-system test takes about ten lines.
//!
//! The tests run one after the other in dom0 of a real Xen, where `scripts/test` puts them. They
//! use the system as its users do: the commands `chaos` and `noxsd`, config files, and the network.
//! A test starts without any guests or records, and must leave none; [`Bed`] checks both.

mod bed;
mod bridge;
mod chaosd;
mod core_file;
mod guest;
mod kill;
mod loop_device;
mod nbd;
mod newer;
mod noxsd;
mod run;
pub mod schema;
mod terminal;
mod watch;
mod witness;
mod xenstore;
mod xl_core;

pub use bed::Bed;
pub use bridge::bridge;
pub use chaosd::{Chaosd, DoomedChaosd, SMALL_POOL};
pub use core_file::CoreFile;
pub use guest::{Guest, ping};
pub use kill::{Death, Doomed, Ended, run_to_syscall};
pub use loop_device::LoopDevice;
pub use nbd::{connected_nbds, qemu_nbds};
pub use newer::{NewerNoxsd, newer, newer_chaos};
pub use noxsd::{kill_noxsd, noxsd_pid, restart_noxsd};
pub use run::{Ran, chaos, chaos_as, command_as, run};
pub use terminal::OnTerminal;
pub use watch::{PATIENCE, wait_for_change, wait_for_file};
pub use witness::Witness;
pub use xenstore::{ConsoleLog, XenStoreBed};
pub use xl_core::XlCore;
