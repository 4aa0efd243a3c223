//! The small framework that makes a whole-system test ten lines.
//!
//! The tests run in dom0 of a real Xen (`scripts/test` takes them there), one after the other, and
//! use the system as its users do: the commands `chaos` and `noxsd`, config files, and the network.
//! A test begins and ends with nothing of ours on the machine; [`Bed`] checks both.

mod bed;
mod chaosd;
mod guest;
mod kill;
mod newer;
mod noxsd;
mod run;
mod watch;
mod xenstore;

pub use bed::Bed;
pub use chaosd::{Chaosd, DoomedChaosd};
pub use guest::Guest;
pub use kill::{Death, Doomed, Ended, run_to_syscall};
pub use newer::{NewerNoxsd, newer, newer_chaos};
pub use noxsd::{noxsd_pid, restart_noxsd};
pub use run::{Ran, chaos, run};
pub use watch::wait_for_file;
pub use xenstore::{ConsoleLog, XenStoreBed};
