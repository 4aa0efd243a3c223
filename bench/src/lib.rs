//! What the programs that measure in dom0 share: creating guests in several ways, and timing them.

pub mod announcement;
pub mod chaosd;
pub mod exec;
pub mod guest;
pub mod words;
pub mod xl;

use std::time::Duration;

/// How long Xen gets to clear free memory: a hundred times what it needs for the largest guest of
/// these measurements, at one page in a microsecond.
const IDLE: Duration = Duration::from_millis(250);

/// Lets Xen clear the memory that guests have given back, and what a create itself gives back of
/// its paging pool, so that no creation pays for it. Xen does that while it is idle and tells
/// nobody how far it is (`scrub_pages` in `XEN_SYSCTL_physinfo` was 0 whenever it was asked), so
/// nothing is left but to be idle.
pub fn let_xen_scrub() {
    std::thread::sleep(IDLE);
}
