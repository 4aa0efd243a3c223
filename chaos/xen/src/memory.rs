//! Giving domains memory.

use zerocopy::IntoBytes;

use crate::arena::{EXTRA, EXTRA_LEN};
use crate::error::Error;
use crate::hypercall::Xen;
use crate::sys::HYPERVISOR_MEMORY_OP;
use crate::sys::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use crate::units::{DomId, Gfn};

impl Xen {
    /// Gives a domain `count` pieces of 2^`order` pages each, one after the other from a frame on.
    ///
    /// # Errors
    /// [`Error::ShortPopulate`] with the number of pieces it got, if Xen has no more of this size,
    /// the domain is at its limit, or its paging pool is empty: Xen does not say which.
    pub fn populate_range(
        &self,
        domid: DomId,
        first: Gfn,
        count: u64,
        order: u32,
    ) -> Result<(), Error> {
        const AT_ONCE: u64 = (EXTRA_LEN / size_of::<u64>()) as u64;
        let mut done = 0;
        while done < count {
            let now = (count - done).min(AT_ONCE);
            let frames: Vec<u64> = (done..done + now).map(|n| first.0 + (n << order)).collect();
            self.arena.put_bytes(EXTRA, frames.as_bytes());
            let reservation = MemoryReservation {
                extent_start: self.arena.address(EXTRA),
                nr_extents: now,
                extent_order: order,
                mem_flags: 0,
                domid: domid.0,
                pad: [0; 3],
            };
            self.arena.put(0, &reservation);
            let arguments = [XENMEM_POPULATE_PHYSMAP, self.arena.address(0), 0, 0, 0];
            // The result is the number of pieces that were done; nothing else is ever reported.
            let result =
                self.call(HYPERVISOR_MEMORY_OP, arguments).map_err(|errno| Error::Hypercall {
                    operation: "memory_op populate_physmap",
                    domid: Some(domid),
                    errno,
                })?;
            done += u64::from(result).min(now);
            if u64::from(result) < now {
                return Err(Error::ShortPopulate { domid, done, wanted: count });
            }
        }
        Ok(())
    }
}
