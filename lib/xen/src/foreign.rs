// SPDX-License-Identifier: MIT OR Apache-2.0
//! Maps a guest's memory and fills in its grant table, for the toolstack.
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
/// The guest may write to them at any time. All access is by copy or by atomic word. Offsets
/// outside of the mapping panic: they are bugs of the caller.
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

    /// Maps frames of a guest, next to each other.
    ///
    /// # Errors
    /// [`Error::ForeignMap`] with the first frame that cannot be mapped.
    pub fn map(xen: &Xen, domid: DomId, frames: &[Gfn]) -> Result<Self, Error> {
        let Batch { mapping, errors, result } = Batch::map(xen, domid, frames)?;
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
            (Ok(()), None) => Ok(Self { mapping }),
        }
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Returns whether nothing is mapped, which never happens.
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

    /// Reads bytes of a file directly into the guest's memory. Returns how many: fewer than `count`
    /// only if the file ends.
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

    /// Loads a word with acquire order: later reads and writes stay after it.
    ///
    /// # Panics
    /// The offset is not a multiple of four or is outside the mapping.
    #[must_use]
    pub fn read_u32(&self, offset: usize) -> u32 {
        self.mapping.load(offset)
    }

    /// Stores a word with release order: earlier reads and writes stay before it.
    ///
    /// # Panics
    /// The offset is not a multiple of four or is outside the mapping.
    pub fn write_u32(&self, offset: usize, value: u32) {
        self.mapping.store(offset, value);
    }
}

/// Frames that the kernel has mapped next to each other, as far as it could.
struct Batch {
    mapping: SharedMapping,
    /// The error of each frame; 0 if it is mapped. An access to one that is not raises SIGBUS.
    errors: Vec<i32>,
    /// The result of the call, which succeeds although single frames failed, except with ENOENT.
    result: Result<(), Errno>,
}

impl Batch {
    fn map(xen: &Xen, domid: DomId, frames: &[Gfn]) -> Result<Self, Error> {
        // A second mapping of dom0's memory could alias this process's own.
        guest_only("map memory", domid)?;
        let failed = |errno| Error::System { doing: "map a guest's memory", errno };
        let num = u32::try_from(frames.len()).map_err(|_| failed(Errno::E2BIG))?;
        let mapping = xen.map_privcmd(frames.len()).map_err(failed)?;
        let mut errors = vec![0i32; frames.len()];
        let mut call = PrivcmdMmapbatchV2 {
            num,
            dom: domid.0,
            pad: 0,
            addr: mapping.address().addr() as u64,
            arr: frames.as_ptr().cast(),
            err: errors.as_mut_ptr(),
        };
        // SAFETY: this ioctl takes a `PrivcmdMmapbatchV2`. `arr` and `err` have `num` elements each
        // and live until it returns; `Gfn` is `repr(transparent)` over the 64-bit number that the
        // kernel reads. `addr` is a mapping of exactly `num` pages of this device, which the kernel
        // fills in and no code has accessed yet.
        let result =
            unsafe { device::ioctl(xen.privcmd(), IOCTL_PRIVCMD_MMAPBATCH_V2, &raw mut call) };
        Ok(Self { mapping, errors, result: result.map(drop) })
    }
}

/// Frames of a guest of which some may have no memory; unmapped when dropped.
#[derive(Debug)]
pub struct SparseMapping {
    mapping: SharedMapping,
    /// Whether each frame is mapped.
    present: Vec<bool>,
}

impl SparseMapping {
    /// Maps those of the frames `first .. first + count` of a guest that have memory.
    ///
    /// # Errors
    /// The kernel refuses the call as such.
    pub fn map_range(xen: &Xen, domid: DomId, first: Gfn, count: Pages) -> Result<Self, Error> {
        let frames: Vec<Gfn> = (0..count.0).map(|page| Gfn(first.0.wrapping_add(page))).collect();
        let Batch { mapping, errors, result } = Batch::map(xen, domid, &frames)?;
        let present: Vec<bool> = errors.iter().map(|error| *error == 0).collect();
        match result {
            // Without an error of a single frame, nothing says which frames are mapped.
            Err(errno) if !present.contains(&false) => {
                Err(Error::ForeignMap { domid, gfn: first, errno })
            }
            _ => Ok(Self { mapping, present }),
        }
    }

    /// Copies a page out of the guest. Returns whether there is one: if not, `to` stays unchanged.
    ///
    /// # Panics
    /// The index is not below the number of frames.
    pub fn read_page(&self, index: usize, to: &mut [u8; PAGE_SIZE]) -> bool {
        if self.present[index] {
            self.mapping.read(index * PAGE_SIZE, to);
        }
        self.present[index]
    }
}

/// A grant that the toolstack creates on behalf of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantEntry {
    /// The index in the guest's grant table.
    pub reference: GrantRef,
    /// The domain that gets access.
    pub domid: DomId,
    /// The guest's frame.
    pub gfn: Gfn,
    /// Whether that domain may only read.
    pub read_only: bool,
}

/// The first frame of a guest's grant table (version 1); unmapped when dropped.
///
/// While the frame is mapped, a domain that was destroyed stays in Xen as a zombie. Unmapping costs
/// as much as mapping, so a caller may drop this after more urgent work.
#[derive(Debug)]
pub struct GrantTable {
    domid: DomId,
    frame: SharedMapping,
}

impl GrantTable {
    /// Maps the table. Once the guest runs, only the entries from
    /// [`FIRST_TOOLSTACK`](xen_abi::grants::FIRST_TOOLSTACK) to
    /// [`FIRST_GUEST`](xen_abi::grants::FIRST_GUEST) are the caller's.
    ///
    /// # Errors
    /// Xen or the kernel refuses.
    pub fn map(xen: &Xen, domid: DomId) -> Result<Self, Error> {
        guest_only("map the grant table", domid)?;
        let failed = |errno| Error::System { doing: "map a guest's grant table", errno };
        let frame = xen.map_privcmd(1).map_err(failed)?;
        let mut call = PrivcmdMmapResource {
            dom: domid.0,
            kind: XENMEM_RESOURCE_GRANT_TABLE,
            id: XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED,
            idx: 0,
            num: 1,
            addr: frame.address().addr() as u64,
            ..PrivcmdMmapResource::default()
        };
        // SAFETY: this ioctl takes a `PrivcmdMmapResource`. `addr` is a mapping of `num`, that is
        // one, page of this device, which the kernel fills in and no code has accessed yet.
        unsafe { device::ioctl(xen.privcmd(), IOCTL_PRIVCMD_MMAP_RESOURCE, &raw mut call) }
            .map_err(failed)?;
        Ok(Self { domid, frame })
    }

    /// Fills in an entry.
    ///
    /// # Errors
    /// The reference is not in the first frame, or the guest's frame is above 16 TiB.
    pub fn set(&self, entry: &GrantEntry) -> Result<(), Error> {
        let (at, frame) = locate(entry).ok_or(Error::GrantEntry {
            domid: self.domid,
            reference: entry.reference,
            gfn: entry.gfn,
        })?;
        let read_only = if entry.read_only { GTF_READONLY } else { 0 };
        let flags = u32::from(GTF_PERMIT_ACCESS | read_only);
        self.frame.store(at + GRANT_ENTRY_FRAME, frame);
        // Flags and domid share a word. It is stored last, with release order: Xen sees the
        // permission only together with the frame.
        self.frame.store(at, flags | u32::from(entry.domid.0) << (8 * GRANT_ENTRY_DOMID));
        Ok(())
    }
}

impl GrantTable {
    /// Clears an entry. A page that the other domain has mapped stays mapped.
    ///
    /// # Errors
    /// The reference is not in the first frame.
    pub fn clear(&self, reference: GrantRef) -> Result<(), Error> {
        let entry = GrantEntry { reference, domid: DomId(0), gfn: Gfn(0), read_only: false };
        let (at, _) = locate(&entry).ok_or(Error::GrantEntry {
            domid: self.domid,
            reference,
            gfn: entry.gfn,
        })?;
        // The flags first: without them, Xen ignores the frame.
        self.frame.store(at, 0);
        self.frame.store(at + GRANT_ENTRY_FRAME, 0);
        Ok(())
    }
}

/// Returns the entry's offset in the first frame of the table, and the 32-bit frame number to
/// write.
fn locate(entry: &GrantEntry) -> Option<(usize, u32)> {
    let at = usize::try_from(entry.reference.0).ok()?.checked_mul(GRANT_ENTRY_V1_SIZE)?;
    let frame = u32::try_from(entry.gfn.0).ok()?;
    (at < PAGE_SIZE).then_some((at, frame))
}

/// Fills in entries of a guest's grant table (version 1, first frame).
///
/// # Errors
/// As for [`GrantTable::map`] and [`GrantTable::set`].
pub fn seed_grants(xen: &Xen, domid: DomId, entries: &[GrantEntry]) -> Result<(), Error> {
    let table = GrantTable::map(xen, domid)?;
    entries.iter().try_for_each(|entry| table.set(entry))
}

/// Clears entries of a guest's grant table.
///
/// # Errors
/// As for [`GrantTable::map`] and [`GrantTable::clear`].
pub fn clear_grants(xen: &Xen, domid: DomId, references: &[GrantRef]) -> Result<(), Error> {
    let table = GrantTable::map(xen, domid)?;
    references.iter().try_for_each(|reference| table.clear(*reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_outside_of_the_first_frame_are_refused() {
        let entry = |reference, gfn| GrantEntry {
            reference: GrantRef(reference),
            domid: DomId::DOM0,
            gfn: Gfn(gfn),
            read_only: false,
        };
        assert_eq!(locate(&entry(8, 0x1ff)), Some((64, 0x1ff)));
        assert_eq!(locate(&entry(511, 1)), Some((4088, 1)));
        assert_eq!(locate(&entry(512, 1)), None);
        assert_eq!(locate(&entry(u32::MAX, 1)), None);
        assert_eq!(locate(&entry(8, 1 << 32)), None);
    }
}
