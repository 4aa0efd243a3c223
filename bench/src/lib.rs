// SPDX-License-Identifier: GPL-3.0-or-later
//! Shared code of the programs that measure in dom0: creates guests in several ways and times them.

pub mod announcement;
pub mod chaosd;
pub mod exec;
pub mod frames;
pub mod guest;
pub mod redis;
pub mod words;
pub mod xl;

use std::time::Duration;

/// How long to leave Xen idle so that it clears free memory: a hundred times what the largest guest
/// of these measurements needs, at one page per microsecond.
const IDLE: Duration = Duration::from_millis(250);

/// Waits for Xen to clear freed memory, so that the next create does not pay for it: the memory of
/// destroyed guests, and the part of the paging pool that a create frees. Xen clears memory while
/// it is idle, and does not report its progress (`scrub_pages` of `XEN_SYSCTL_physinfo` always
/// reads 0). So this stays idle for long enough.
pub fn let_xen_scrub() {
    std::thread::sleep(IDLE);
}
