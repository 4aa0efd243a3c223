// SPDX-License-Identifier: GPL-3.0-or-later
//! The grants of the rings of a guest with a device page.

use noxs::MAX_RING_PAGES;
use xen::units::GrantRef;
use xen_abi::grants::{FIRST_GUEST, FIRST_TOOLSTACK};

const _: () = assert!(FIRST_TOOLSTACK as usize + MAX_RING_PAGES <= FIRST_GUEST as usize);

/// Returns the grant reference of a ring page, given its number in the layout.
///
/// # Panics
/// The guest has more rings than the toolstack has grants, which is a bug in the layout.
pub(crate) fn noxs_grant(ring: u64) -> GrantRef {
    let reference = u32::try_from(u64::from(FIRST_TOOLSTACK).saturating_add(ring)).ok();
    let reference = reference.filter(|reference| *reference < FIRST_GUEST);
    GrantRef(reference.expect("a guest has at most MAX_RING_PAGES rings"))
}
