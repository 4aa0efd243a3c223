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
//! [`server`] talks to toolstacks, [`event_loop`] waits, [`privileges`] and [`seccomp`] give up
//! what is not needed, [`records`] finds the domains of an earlier noxsd.

pub mod backend;
pub mod bucket;
pub mod console;
pub mod console_log;
pub mod dense;
pub mod event_loop;
pub mod frame;
pub mod host;
pub mod level;
pub mod listener;
pub mod memory;
pub mod net;
pub mod packet;
pub mod privileges;
pub mod records;
pub mod ring;
pub mod seccomp;
pub mod server;
pub mod session;
pub mod switch;
pub mod tap;
pub mod xen_host;
