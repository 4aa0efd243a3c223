//! The parts of `noxsd`: console and network backends for noxs guests and the switch between them,
//! in one unprivileged process.
//!
//! `noxsd` is the only process that reads what guests write. It treats each byte as hostile: an
//! impossible index costs that guest its device, a bad grant is an error in that guest's ring, a
//! flood waits for itself.
//!
//! From the ring up: [`memory`] reaches shared pages, [`ring`] keeps indices, [`net`] and
//! [`console`] are one device each, [`frame`] and [`switch`] decide where a frame may go,
//! [`backend`] holds all domains and serves them in turns. [`host`] is what they need of Xen, as a
//! trait; [`xen_host`] does it.
//! [`control`] talks to toolstacks and finds the domains of an earlier noxsd, [`process`] starts,
//! gives up what is not needed and waits.

pub mod backend;
pub mod bucket;
pub mod console;
pub mod console_log;
pub mod control;
pub mod dense;
pub mod frame;
pub mod host;
pub mod memory;
pub mod net;
pub mod process;
pub mod ring;
pub mod switch;
pub mod tap;
pub mod xen_host;
