//! XenStore mode: devices are announced in XenStore, dom0's kernel is the backend for network and
//! disks, and xenconsoled for the console. For hosts and guests that need it (`docs/xenstore.md`).
//!
//! All that is announced of a guest is written in one transaction, whose requests
//! are sent at once ([`Place::announce`]). Then dom0's kernel makes its ends of the devices;
//! [`Place::settle`] waits for that and puts the interfaces on their bridges. No script is run.

mod announce;
mod barrier;
mod bridge;
mod disk;
mod tree;

pub use announce::{Control, EndWatch, Port, terminal};
pub use disk::{Disk, DiskError};
pub use tree::{GuestFacts, Place, ShellFacts};
