//! What the programs that measure in dom0 share: creating guests in several ways, and timing them.

pub mod announcement;
pub mod chaosd;
pub mod exec;
pub mod guest;
pub mod words;
pub mod xl;

use std::time::Duration;

/// How long to leave Xen idle so that it clears free memory: a hundred times what the largest guest
/// of these measurements needs, at one page per microsecond.
const IDLE: Duration = Duration::from_millis(250);

/// Waits for Xen to clear freed memory, so that the next create does not pay for it: the memory of
/// destroyed guests, and what a create frees of its paging pool. Xen clears memory while it is idle
/// and does not report its progress (`scrub_pages` of `XEN_SYSCTL_physinfo` has always read 0), so
/// all that can be done is to stay idle for long enough.
pub fn let_xen_scrub() {
    std::thread::sleep(IDLE);
}
