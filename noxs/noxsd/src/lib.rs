//! The parts of `noxsd`: console and network backends for noxs guests, and the switch between them,
//! in one unprivileged process.
//!
//! `noxsd` is the only process that reads what guests write. It treats each byte as hostile: an
//! impossible index costs that guest its device, a bad grant is an error in that guest's ring, and a
//! guest that floods delays only itself.
//!
//! A folder knows only those below it:
//!
//! | | |
//! |---|---|
//! | [`process`] | starts, drops what is not needed, waits for events |
//! | [`control`] | serves toolstacks and clients of consoles; reads which domains an earlier noxsd served |
//! | [`domains`] | who is attached: owns the devices, and knows which kinds there are |
//! | [`net`], [`console`] | a device kind each: ring, policy, counters, restart |
//! | [`turns`] | who is served next, when, and how much may pass; knows no device |
//! | [`host`] | what devices need of Xen, as a trait; the real Xen, and shared memory |
//!
//! A new device kind is a folder beside [`net`] and [`console`], and a few lines in
//! `domains/device.rs`, which lists them.

pub mod console;
pub mod control;
pub mod domains;
pub mod host;
pub mod net;
pub mod process;
pub mod turns;
