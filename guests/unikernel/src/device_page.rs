//! The device page (`docs/noxs-abi.md`): what devices the guest has.
//!
//! `unsafe`, because dom0 may change the page while the guest reads it.
#![allow(unsafe_code)]

use noxs::shared::{RawPage, snapshot};
use noxs::{DevicePage, PageError};

use crate::layout::{MAPPED, pointer};

/// A page that dom0 made and shares with this guest.
///
/// # Panics
/// If the address is not one that the guest has mapped: dom0's error.
pub(crate) fn page_at(address: u64) -> RawPage {
    assert!(
        address != 0 && address.is_multiple_of(4096) && address < MAPPED,
        "dom0 names a page at {address:#x}, which a guest cannot have"
    );
    // SAFETY: the address is page-aligned and in the guest's map. It comes from dom0, which is
    // trusted with the guest's memory and names pages that it made for this purpose, outside of
    // what its memory map lists as usable: no Rust object lies there.
    unsafe { RawPage::new(pointer(address)) }
}

/// Copies the page and checks it. (Not inlined: the copies are gone from the stack afterwards.)
#[inline(never)]
pub(crate) fn read(address: u64) -> Result<DevicePage, PageError> {
    DevicePage::decode(&snapshot(&page_at(address))?)
}
