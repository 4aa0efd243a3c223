// SPDX-License-Identifier: MIT OR Apache-2.0
//! Adds memory to domains, sets their memory maps, and counts shared memory.

use nix::errno::Errno;
use xen_abi::hypercall::HYPERVISOR_MEMORY_OP;
use xen_abi::memory::{
    E820_RAM, E820_RESERVED, E820Entry, ForeignMemoryMap, MemoryDomain, MemoryReservation,
    PageClaim, XENMEM_CLAIM_PAGES, XENMEM_GET_SHARING_FREED_PAGES, XENMEM_GET_SHARING_SHARED_PAGES,
    XENMEM_MAXIMUM_GPFN, XENMEM_POPULATE_PHYSMAP, XENMEM_SET_MEMORY_MAP,
};

use crate::error::Error;
use crate::hypercall::{Operation, Xen, guest_only};
use crate::units::{Bytes, DomId, Gfn, Pages};

/// The most pieces in one hypercall: as many as fit into the hypercall page.
const AT_ONCE: usize = 480;

/// A range of a guest's memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// The first address.
    pub start: u64,
    /// The length.
    pub size: Bytes,
    /// The kind of memory.
    pub kind: MemoryKind,
}

/// A kind of memory in a guest's memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Memory that the guest may use.
    Ram,
    /// Memory that the guest must not use.
    Reserved,
}

/// Memory that domains share (`CONFIG_MEM_SHARING`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedMemory {
    /// Memory that sharing saves.
    pub freed: Pages,
    /// Memory that more than one domain uses.
    pub used: Pages,
}

impl Xen {
    /// Adds `count` pieces of 2^`order` pages each to a domain, at consecutive frames from `first`
    /// on.
    ///
    /// # Errors
    /// [`Error::ShortPopulate`] with the number of pieces that were added, if Xen has no more of
    /// this size, the domain is at its limit, or its paging pool is empty. Xen does not report
    /// which.
    pub fn populate_range(
        &self,
        domid: DomId,
        first: Gfn,
        count: u64,
        order: u32,
    ) -> Result<(), Error> {
        let operation = Operation {
            name: "populate_physmap",
            hypercall: HYPERVISOR_MEMORY_OP,
            command: XENMEM_POPULATE_PHYSMAP,
        };
        guest_only(operation.name, domid)?;
        let mut done = 0;
        while done < count {
            let now = usize::try_from(count - done).map_or(AT_ONCE, |left| left.min(AT_ONCE));
            let data = self.data(now * size_of::<u64>())?;
            for (slot, index) in (done..).take(now).enumerate() {
                let frame = first.0.wrapping_add(index.unbounded_shl(order));
                data.put(slot * size_of::<u64>(), &frame);
            }
            let mut reservation = MemoryReservation {
                extent_order: order,
                domid: domid.0,
                ..MemoryReservation::default()
            };
            // The result is the number of pieces that were done; Xen reports no error otherwise.
            let result = u64::from(self.operate_with(operation, domid, &mut reservation, &data)?);
            done += result.min(now as u64);
            if result < now as u64 {
                return Err(Error::ShortPopulate { domid, done, wanted: count });
            }
        }
        Ok(())
    }

    /// Claims memory for a domain until it has `pages` pages in all, so that no other domain gets
    /// it. The claim shrinks as the domain gets memory, and ends when it is destroyed. A claim of 0
    /// pages removes the one that there is.
    ///
    /// # Errors
    /// `ENOMEM` if too little memory is free and not claimed; `EINVAL` if the domain has a claim
    /// already, has so many pages already, or may not have so many.
    pub fn claim_pages(&self, domid: DomId, pages: Pages) -> Result<(), Error> {
        let operation = Operation {
            name: "memory_op claim_pages",
            hypercall: HYPERVISOR_MEMORY_OP,
            command: XENMEM_CLAIM_PAGES,
        };
        guest_only(operation.name, domid)?;
        let mut claim = PageClaim { nr_extents: pages.0, domid: domid.0, ..PageClaim::default() };
        self.operate(operation, domid, &mut claim).map(drop)
    }

    /// Sets the memory map that Xen returns to a guest on request. Xen itself does not use it.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn set_memory_map(&self, domid: DomId, ranges: &[MemoryRange]) -> Result<(), Error> {
        let operation = Operation {
            name: "memory_op set_memory_map",
            hypercall: HYPERVISOR_MEMORY_OP,
            command: XENMEM_SET_MEMORY_MAP,
        };
        guest_only(operation.name, domid)?;
        let data = self.data(ranges.len() * size_of::<E820Entry>())?;
        for (index, range) in ranges.iter().enumerate() {
            let kind = match range.kind {
                MemoryKind::Ram => E820_RAM,
                MemoryKind::Reserved => E820_RESERVED,
            };
            let entry = E820Entry { addr: range.start, size: range.size.0, kind };
            data.put(index * size_of::<E820Entry>(), &entry);
        }
        let mut map = ForeignMemoryMap { domid: domid.0, ..ForeignMemoryMap::default() };
        self.operate_with(operation, domid, &mut map, &data).map(drop)
    }

    /// Returns the highest frame at which a domain has ever had memory or a page of Xen's. The guest
    /// has influence on it.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn highest_frame(&self, domid: DomId) -> Result<Gfn, Error> {
        let operation = Operation {
            name: "memory_op maximum_gpfn",
            hypercall: HYPERVISOR_MEMORY_OP,
            command: XENMEM_MAXIMUM_GPFN,
        };
        guest_only(operation.name, domid)?;
        let frame = self.operate(operation, domid, &mut MemoryDomain { domid: domid.0 })?;
        Ok(Gfn(frame.into()))
    }

    /// Returns how much memory domains share; nothing if this Xen was built without sharing, as
    /// Debian's is.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn shared_memory(&self) -> Result<SharedMemory, Error> {
        let pages = |name, command| {
            let operation = Operation { name, hypercall: HYPERVISOR_MEMORY_OP, command };
            match self.operate(operation, DomId::SELF, &mut [0u8; 0]) {
                Ok(pages) => Ok(Pages(pages.into())),
                Err(Error::Hypercall { errno: Errno::ENOSYS, .. }) => Ok(Pages(0)),
                Err(error) => Err(error.without_domain()),
            }
        };
        Ok(SharedMemory {
            freed: pages("memory_op get_sharing_freed_pages", XENMEM_GET_SHARING_FREED_PAGES)?,
            used: pages("memory_op get_sharing_shared_pages", XENMEM_GET_SHARING_SHARED_PAGES)?,
        })
    }
}
