// SPDX-License-Identifier: GPL-3.0-or-later
//! The process: its start as root, how it gives up root, and its loop.
//!
//! [`start`] opens everything in the order that is necessary, [`taps`] opens the taps of bridges,
//! `disks` the files behind the disks of running guests, [`crashes`] remembers which domain crashed noxsd,
//! [`privileges`] and [`seccomp`] give up what is not needed afterwards, and [`event_loop`] serves.
//! `address_watch` learns dom0's own addresses. [`arguments`] describes the command line.

mod address_watch;
pub mod arguments;
pub mod crashes;
mod disks;
pub mod event_loop;
pub mod privileges;
pub mod seccomp;
pub mod start;
pub mod taps;
