// SPDX-License-Identifier: GPL-3.0-or-later
//! The parts of noxsd: back ends of the consoles, network interfaces and disks of noxs guests, and
//! the switch between them, in one unprivileged process.
//!
//! noxsd is the only process that reads what guests write, and treats each byte as hostile: a guest
//! that writes an impossible index loses that device, a bad grant is answered with an error in that
//! guest's ring, and a guest that floods delays only itself.
//!
//! A module uses only the modules below it:
//!
//! | | |
//! |---|---|
//! | [`process`] | starts, drops privileges, waits for events |
//! | [`control`] | serves toolstacks and clients of consoles; reads which domains an earlier noxsd served |
//! | [`domains`] | the attached domains: owns their devices, and lists the kinds of devices |
//! | [`net`], [`console`], [`block`] | one device kind each: ring, policy, counters, restart |
//! | [`turns`] | which device is served next, when, and at which rate; independent of device kinds |
//! | [`host`] | what devices need from Xen, as a trait, and the real Xen |
//!
//! The rings themselves, and memory that a guest writes at any time, come from the crate
//! `xen_ring`.
//!
//! A new device kind is a folder beside these, and a few lines in
//! `domains/device.rs`, which lists the kinds.

pub mod block;
pub mod console;
pub mod control;
pub mod domains;
pub mod host;
pub mod net;
pub mod process;
pub mod turns;
