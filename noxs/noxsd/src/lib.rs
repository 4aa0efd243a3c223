//! The parts of `noxsd`: console and network backends for noxs guests and the switch between them,
//! in one unprivileged process.
//!
//! `noxsd` is the only process that reads what guests write. It treats each byte as hostile: an
//! impossible index costs that guest its device, a bad grant is an error in that guest's ring, a
//! flood waits for itself.
//!
//! From the bottom up: [`host`] is what devices need of Xen, as a trait, and the real Xen behind
//! it; [`turns`] decides what is served next; [`console`] and [`net`] are a device kind each;
//! [`domains`] owns the devices of all attached domains.
//! [`server`] talks to toolstacks, [`event_loop`] waits, [`privileges`] and [`seccomp`] give up
//! what is not needed, [`records`] finds the domains of an earlier noxsd.

pub mod console;
pub mod domains;
pub mod event_loop;
pub mod host;
pub mod level;
pub mod listener;
pub mod net;
pub mod packet;
pub mod privileges;
pub mod records;
pub mod seccomp;
pub mod server;
pub mod session;
pub mod turns;
