//! Mapping a guest's memory, and filling in its grant table, from the toolstack.
//!
//! `unsafe`: the kernel follows pointers in the ioctls' structures.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use nix::errno::Errno;
use xen_abi::grant_table::{
    GRANT_ENTRY_DOMID, GRANT_ENTRY_FRAME, GRANT_ENTRY_V1_SIZE, GTF_PERMIT_ACCESS, GTF_READONLY,
};
use xen_abi::memory::{XENMEM_RESOURCE_GRANT_TABLE, XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED};

use crate::device;
use crate::error::Error;
use crate::hypercall::{Xen, guest_only};
use crate::linux::privcmd::{
    IOCTL_PRIVCMD_MMAP_RESOURCE, IOCTL_PRIVCMD_MMAPBATCH_V2, PrivcmdMmapResource,
    PrivcmdMmapbatchV2,
};
use crate::mapping::SharedMapping;
use crate::units::{DomId, Gfn, GrantRef, PAGE_SIZE, Pages};

/// Pages of a guest in this process's address space; unmapped when dropped.
///
/// The guest may write to them at any time. All access is by copy or by atomic word, and offsets
/// outside of the mapping panic: they are mistakes of the caller.
#[derive(Debug)]
pub struct ForeignMapping {
    mapping: SharedMapping,
}

impl ForeignMapping {
    /// Maps frames `first .. first + count` of a guest.
    ///
    /// # Errors
    /// [`Error::ForeignMap`] with the first frame that cannot be mapped.
    pub fn map_range(xen: &Xen, domid: DomId, first: Gfn, count: Pages) -> Result<Self, Error> {
        let frames: Vec<Gfn> = (0..count.0).map(|page| Gfn(first.0.wrapping_add(page))).collect();
        Self::map(xen, domid, &frames)
    }

    /// Maps frames of a guest, one after the other.
    ///
    /// # Errors
    /// [`Error::ForeignMap`] with the first frame that cannot be mapped.
    pub fn map(xen: &Xen, domid: DomId, frames: &[Gfn]) -> Result<Self, Error> {
        // dom0's own memory must not be reached in a second way: this process may be in it.
        guest_only("map memory", domid)?;
        let failed = |errno| Error::System { doing: "map a guest's memory", errno };
        let num = u32::try_from(frames.len()).map_err(|_| failed(Errno::E2BIG))?;
        let mapping = SharedMapping::new(xen.privcmd(), frames.len(), 0, true).map_err(failed)?;
        let mut errors = vec![0i32; frames.len()];
        let mut call = PrivcmdMmapbatchV2 {
            num,
            dom: domid.0,
            pad: 0,
            addr: mapping.address().addr() as u64,
            arr: frames.as_ptr().cast(),
            err: errors.as_mut_ptr(),
        };
        // SAFETY: the structure is this ioctl's. `arr` and `err` have `num` elements each, frames
        // being plain 64-bit numbers (`repr(transparent)`), and live until it returns; `addr` is a mapping of exactly `num` pages of this device, which
        // nobody has used yet.
        let result =
            unsafe { device::ioctl(xen.privcmd(), IOCTL_PRIVCMD_MMAPBATCH_V2, &raw mut call) };
        // The call reports success although single frames failed, except for ENOENT; and touching
        // a frame that failed raises SIGBUS. So each one is looked at.
        let refused = frames.iter().zip(&errors).find(|(_, error)| **error != 0);
        match (result, refused) {
            (_, Some((frame, error))) => Err(Error::ForeignMap {
                domid,
                gfn: *frame,
                errno: Errno::from_raw(error.saturating_neg()),
            }),
            (Err(errno), None) => {
                let gfn = frames.first().copied().unwrap_or_default();
                Err(Error::ForeignMap { domid, gfn, errno })
            }
            (Ok(_), None) => Ok(Self { mapping }),
        }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Whether nothing is mapped, which never happens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies bytes into the guest.
    ///
    /// # Panics
    /// They are not all inside the mapping.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        self.mapping.write(offset, bytes);
    }

    /// Fills the guest's memory from a file, without a copy in between. Gives how many bytes there
    /// were: fewer than `count` only if the file ends.
    ///
    /// # Errors
    /// The file cannot be read.
    ///
    /// # Panics
    /// The bytes are not all inside the mapping.
    pub fn write_from(
        &self,
        offset: usize,
        file: &File,
        position: u64,
        count: usize,
    ) -> io::Result<usize> {
        Ok(self.mapping.write_from(offset, file, position, count)?)
    }

    /// Copies bytes out of the guest.
    ///
    /// # Panics
    /// They are not all inside the mapping.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        self.mapping.read(offset, bytes);
    }

    /// Clears bytes of the guest.
    ///
    /// # Panics
    /// They are not all inside the mapping.
    pub fn fill_zero(&self, offset: usize, count: usize) {
        self.mapping.fill_zero(offset, count);
    }

    /// Reads a word; reads that follow are not done before.
    ///
    /// # Panics
    /// The offset is no multiple of four or outside the mapping.
    #[must_use]
    pub fn read_u32(&self, offset: usize) -> u32 {
        self.mapping.load(offset)
    }

    /// Writes a word; writes that precede are visible before it.
    ///
    /// # Panics
    /// The offset is no multiple of four or outside the mapping.
    pub fn write_u32(&self, offset: usize, value: u32) {
        self.mapping.store(offset, value);
    }
}

/// A grant that the toolstack makes in a guest's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantEntry {
    /// Where in the guest's grant table.
    pub reference: GrantRef,
    /// To whom.
    pub domid: DomId,
    /// Which frame of the guest.
    pub gfn: Gfn,
    /// Whether the other domain may only read.
    pub read_only: bool,
}

/// The first frame of a guest's grant table (version 1); unmapped when dropped.
///
/// A mapped frame keeps the domain in Xen as a zombie after its end. But unmapping costs as much as
/// mapping, so whoever is in a hurry drops this later.
#[derive(Debug)]
pub struct GrantTable {
    domid: DomId,
    frame: SharedMapping,
}

impl GrantTable {
    /// Maps the table. The guest is not to run yet: it owns the table from then on.
    ///
    /// # Errors
    /// Xen or the kernel refuses.
    pub fn map(xen: &Xen, domid: DomId) -> Result<Self, Error> {
        guest_only("map the grant table", domid)?;
        let failed = |errno| Error::System { doing: "map a guest's grant table", errno };
        let frame = SharedMapping::new(xen.privcmd(), 1, 0, true).map_err(failed)?;
        let mut call = PrivcmdMmapResource {
            dom: domid.0,
            kind: XENMEM_RESOURCE_GRANT_TABLE,
            id: XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED,
            idx: 0,
            num: 1,
            addr: frame.address().addr() as u64,
            ..PrivcmdMmapResource::default()
        };
        // SAFETY: the structure is this ioctl's; `addr` is a mapping of one page of this device,
        // which nobody has used yet.
        unsafe { device::ioctl(xen.privcmd(), IOCTL_PRIVCMD_MMAP_RESOURCE, &raw mut call) }
            .map_err(failed)?;
        Ok(Self { domid, frame })
    }

    /// Fills in an entry.
    ///
    /// # Errors
    /// The entry is not in the first frame, or names a page above 16 TiB.
    pub fn set(&self, entry: &GrantEntry) -> Result<(), Error> {
        let (at, frame) = place(entry).ok_or(Error::GrantEntry {
            domid: self.domid,
            reference: entry.reference,
            gfn: entry.gfn,
        })?;
        let read_only = if entry.read_only { GTF_READONLY } else { 0 };
        let flags = u32::from(GTF_PERMIT_ACCESS | read_only);
        self.frame.store(at + GRANT_ENTRY_FRAME, frame);
        // Flags and domid share a word. It is written last, and with release order: whoever sees
        // the permission sees the frame it is for.
        self.frame.store(at, flags | u32::from(entry.domid.0) << (8 * GRANT_ENTRY_DOMID));
        Ok(())
    }
}

/// Where an entry is in the first frame of the table, and the page's number in it.
fn place(entry: &GrantEntry) -> Option<(usize, u32)> {
    let at = usize::try_from(entry.reference.0).ok()?.checked_mul(GRANT_ENTRY_V1_SIZE)?;
    let frame = u32::try_from(entry.gfn.0).ok()?;
    (at < PAGE_SIZE).then_some((at, frame))
}

/// Fills in entries of a new guest's grant table (version 1, first frame).
///
/// # Errors
/// As for [`GrantTable::map`] and [`GrantTable::set`].
pub fn seed_grants(xen: &Xen, domid: DomId, entries: &[GrantEntry]) -> Result<(), Error> {
    let table = GrantTable::map(xen, domid)?;
    entries.iter().try_for_each(|entry| table.set(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_entries_that_the_frame_holds_have_a_place() {
        let entry = |reference, gfn| GrantEntry {
            reference: GrantRef(reference),
            domid: DomId::DOM0,
            gfn: Gfn(gfn),
            read_only: false,
        };
        assert_eq!(place(&entry(8, 0x1ff)), Some((64, 0x1ff)));
        assert_eq!(place(&entry(511, 1)), Some((4088, 1)));
        assert_eq!(place(&entry(512, 1)), None);
        assert_eq!(place(&entry(u32::MAX, 1)), None);
        assert_eq!(place(&entry(8, 1 << 32)), None);
    }
}
