// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants, right and wrong ones.

use attacks::{Grant, Page};
use noxs::Device;
use unikernel::Guest;
use xen_abi::grant_table::{
    GRANT_ENTRY_FRAME, GRANT_ENTRY_V1_SIZE, GTF_PERMIT_ACCESS, GTF_READONLY,
};
use xen_abi::grants::FIRST_GUEST;
use xen_ring::{RawPage, SharedPage};

use crate::raw;

/// The domain in which the backends run.
const DOM0: u16 = 0;
/// A domain that is neither dom0 nor this one.
const ANOTHER: u16 = 0x7000;
/// `GTF_accept_transfer`.
const TRANSFER: u16 = 2;
/// A frame far behind a guest's memory.
const NO_FRAME: u32 = 0x0fff_fff0;

/// The first page of the table, and the grants of rings.
pub(super) struct Grants {
    table: RawPage,
    gfn: u32,
    next: u32,
    rings: [u32; 4],
}

impl Grants {
    /// Maps the table.
    pub(super) fn new(guest: &Guest) -> Self {
        let (table, gfn) = raw::grant_table(guest);
        let mut rings = [0; 4];
        for device in guest.devices() {
            match device {
                Device::Console(console) => rings[0] = console.backend.rings[0].grant,
                Device::Vif(vif) => {
                    [rings[1], rings[2]] = vif.backend.rings.map(|ring| ring.grant);
                }
                Device::Vbd(vbd) if rings[3] == 0 => rings[3] = vbd.backend.rings[0].grant,
                _ => {}
            }
        }
        Self { table, gfn, next: FIRST_GUEST, rings }
    }

    /// Returns the frame that the table is mapped at.
    pub(super) fn gfn(&self) -> u32 {
        self.gfn
    }

    /// Writes an entry. The flags make it valid, so they are written last.
    fn set(&self, reference: u32, flags: u16, domid: u16, frame: u32) {
        let entry = reference as usize * GRANT_ENTRY_V1_SIZE;
        self.table.store(entry + GRANT_ENTRY_FRAME, frame);
        self.table.store(entry, u32::from(flags) | u32::from(domid) << 16);
    }

    /// Grants a frame to dom0, for reading and writing.
    pub(super) fn good(&mut self, gfn: u32) -> u32 {
        let reference = self.reserve();
        self.permit(reference, gfn);
        reference
    }

    fn reserve(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// Makes a grant valid.
    pub(super) fn permit(&self, reference: u32, gfn: u32) {
        self.set(reference, GTF_PERMIT_ACCESS, DOM0, gfn);
    }

    /// Revokes a grant.
    pub(super) fn revoke(&self, reference: u32) {
        self.set(reference, 0, 0, 0);
    }

    /// Returns the reference by which a request names a page. `good` is that of a good page, whose
    /// frame is `gfn`.
    pub(super) fn reference(&mut self, grant: Grant, good: u32, gfn: u32) -> u32 {
        let (flags, domid, frame) = match grant {
            Grant::Good => return good,
            Grant::Number(number) => return number,
            Grant::Ring(page) => return self.of_ring(page),
            Grant::ReadOnly => (GTF_PERMIT_ACCESS | GTF_READONLY, DOM0, gfn),
            Grant::Revoked => (GTF_PERMIT_ACCESS, DOM0, gfn),
            Grant::Another => (GTF_PERMIT_ACCESS, ANOTHER, gfn),
            Grant::NoFrame => (GTF_PERMIT_ACCESS, DOM0, NO_FRAME),
            Grant::Transfer => (TRANSFER, DOM0, gfn),
        };
        let reference = self.reserve();
        self.set(reference, flags, domid, frame);
        if grant == Grant::Revoked {
            self.revoke(reference);
        }
        reference
    }

    /// Returns the reference by which dom0 has mapped a ring.
    pub(super) fn of_ring(&self, page: Page) -> u32 {
        match page {
            Page::Console => self.rings[0],
            Page::Transmit => self.rings[1],
            Page::Receive => self.rings[2],
            Page::Disk => self.rings[3],
            _ => panic!("hostile: {page:?} is not a ring"),
        }
    }
}
