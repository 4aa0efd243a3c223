// SPDX-License-Identifier: GPL-3.0-or-later
//! Whole-system tests, which `scripts/test` runs in dom0 of a real Xen.
//!
//! They share one machine, so they run one after the other, with `--test-threads=1`.

mod attacks;
mod config_keys;
mod config_update;
mod create;
mod devices;
mod disks;
mod dump;
mod ends;
mod frames;
mod guest_disks;
mod host_verbs;
mod hot_plug;
mod hypercalls;
mod images;
mod ipv6;
mod jumbo;
mod kill;
mod kill_daemon;
mod kill_load;
mod learned;
mod load;
mod members;
mod memory;
mod networks;
mod observe;
mod pool;
mod probe;
mod refusals;
mod services;
mod supervise;
mod top;
mod upgrade;
mod verbs;
