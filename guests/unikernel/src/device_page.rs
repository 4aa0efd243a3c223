// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device page (`docs/noxs-abi.md`), which lists the guest's devices.
//!
//! `unsafe`: dom0 may change the page while the guest reads it.
#![allow(unsafe_code)]

use noxs::shared::{RawPageWords, snapshot};
use noxs::{DevicePage, PageError, Ring};
use xen_ring::RawPage;

use crate::layout::{MAPPED, PAGE_SIZE_U64, pointer};

/// Returns a page that dom0 created and shares with this guest.
///
/// # Panics
/// If the guest does not map the address, which is an error of dom0.
pub(crate) fn page_at(address: u64) -> RawPageWords {
    assert!(
        address != 0 && address.is_multiple_of(4096) && address < MAPPED,
        "dom0 shares a page at {address:#x}: must be a multiple of 4096 below 4 GiB, and not 0"
    );
    // SAFETY: the page must be mapped while the value lives, aligned, and without Rust references.
    // The address is a multiple of a page, not 0, and below `MAPPED`, all of which is mapped for
    // good. It comes from dom0, which is trusted with the guest's memory and puts such pages
    // outside of the memory that the map lists as usable, so no Rust object lies there.
    unsafe { RawPageWords::new(pointer(address)) }
}

/// Copies the page and checks the copy. Not inlined, so that the copies leave the stack on return.
#[inline(never)]
pub(crate) fn read(address: u64) -> Result<DevicePage, PageError> {
    DevicePage::decode(&snapshot(&page_at(address))?)
}

/// Takes the page of a device's ring.
///
/// # Panics
/// If the page is not in the guest's memory, which is an error of dom0.
pub(crate) fn ring_page(ring: &Ring) -> RawPage {
    let address = ring.gfn.saturating_mul(PAGE_SIZE_U64);
    assert!(address != 0 && address < MAPPED, "dom0 puts a ring at {address:#x}");
    // SAFETY: the page must be mapped while the value lives, aligned, and without Rust references.
    // The address is a multiple of a page, not 0, and below `MAPPED`, all of which is mapped for
    // good. It comes from dom0 or Xen, which put the ring outside of the memory that the map lists
    // as usable, so no Rust object lies there.
    unsafe { RawPage::new(pointer(address)) }
}
