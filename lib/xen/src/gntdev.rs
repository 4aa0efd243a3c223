// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that other domains have granted to this one, through `/dev/xen/gntdev`.
//!
//! `unsafe`: the kernel follows pointers in the ioctls' structures.
#![allow(unsafe_code)]

use std::fs::File;
use std::rc::Rc;

use nix::errno::Errno;
use xen_abi::grant_table::{
    GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTST_BAD_COPY_ARG, GNTST_OKAY,
};
use xen_ring::SharedPage;

use crate::device;
use crate::error::Error;
use crate::linux::gntdev::{
    GntdevCopyPtr, GntdevCopySegment, GntdevForeign, GntdevGrantCopy, GntdevGrantRef,
    GntdevMapHeader, GntdevUnmap, IOCTL_GNTDEV_GRANT_COPY, IOCTL_GNTDEV_MAP_GRANT_REF,
    IOCTL_GNTDEV_UNMAP_GRANT_REF,
};
use crate::mapping::SharedMapping;
use crate::placement::Placement;
use crate::units::{DomId, GrantRef, PAGE_SIZE};

/// The most pages that one [`GrantDevice::map`] can map.
pub const MAX_MAP: usize = 56;

/// The most copies in one system call; more copies take more calls.
const COPIES_AT_ONCE: usize = 64;

/// The open grant device.
#[derive(Clone, Debug)]
pub struct GrantDevice {
    device: Rc<File>,
}

impl GrantDevice {
    /// Opens the device.
    ///
    /// # Errors
    /// The machine does not run Xen, or the user may not open the device.
    pub fn open() -> Result<Self, Error> {
        let device = device::open("/dev/xen/gntdev", "xen-gntdev", 0)?;
        Ok(Self { device: Rc::new(device) })
    }

    /// Maps pages that a domain has granted to this one, next to each other.
    ///
    /// # Errors
    /// A grant does not exist or does not permit the access, or there are none or more than
    /// [`MAX_MAP`].
    pub fn map(
        &self,
        domid: DomId,
        references: &[GrantRef],
        writable: bool,
    ) -> Result<GrantMapping, Error> {
        #[repr(C)]
        struct Call {
            header: GntdevMapHeader,
            references: [GntdevGrantRef; MAX_MAP],
        }
        let reference = references.first().copied().unwrap_or_default();
        let failed = |errno| Error::GrantMap { domid, reference, errno };
        if references.is_empty() || references.len() > MAX_MAP {
            return Err(failed(Errno::EINVAL));
        }
        let count = u32::try_from(references.len()).map_err(|_| failed(Errno::EINVAL))?;
        let mut call = Call {
            header: GntdevMapHeader { count, pad: 0, index: 0 },
            references: [GntdevGrantRef::default(); MAX_MAP],
        };
        for (slot, reference) in call.references.iter_mut().zip(references) {
            *slot = GntdevGrantRef { domid: u32::from(domid.0), reference: reference.0 };
        }
        // SAFETY: this ioctl takes a header, followed by as many references as its `count` says.
        // `call` is that structure, lives in this frame, and `count` is at most the array's length.
        unsafe { device::ioctl(&self.device, IOCTL_GNTDEV_MAP_GRANT_REF, &raw mut call) }
            .map_err(failed)?;
        let reservation =
            Reservation { device: Rc::clone(&self.device), index: call.header.index, count };
        let anywhere = Placement::anywhere();
        let mapping = SharedMapping::new(
            &self.device,
            references.len(),
            call.header.index,
            writable,
            &anywhere,
        )
        .map_err(failed)?;
        Ok(GrantMapping { mapping, _reservation: reservation })
    }

    /// Copies between buffers of this process and granted pages, many in one system call. Each
    /// copy's result is in its [`CopyOp::failed`]; a copy that fails, or that would cross the end
    /// of its page, does not affect the others.
    ///
    /// # Errors
    /// The kernel refuses the whole call, because the system is out of memory. How many copies were
    /// made is unknown then.
    pub fn copy(&self, ops: &mut [CopyOp<'_>]) -> Result<(), Error> {
        for ops in ops.chunks_mut(COPIES_AT_ONCE) {
            let mut segments = [GntdevCopySegment::NOTHING; COPIES_AT_ONCE];
            let mut count = 0;
            for op in ops.iter_mut() {
                op.failed = None;
                match op.segment() {
                    Some(segment) => {
                        segments[usize::from(count)] = segment;
                        count += 1;
                    }
                    None => op.failed = Some(GNTST_BAD_COPY_ARG),
                }
            }
            self.copy_segments(&mut segments, count)?;
            let attempted = ops.iter_mut().filter(|op| op.failed.is_none());
            for (op, segment) in attempted.zip(&segments) {
                op.failed = (segment.status != GNTST_OKAY).then_some(segment.status);
            }
        }
        Ok(())
    }

    /// Makes the copies of the first `count` segments, which [`CopyOp::segment`] has built from
    /// operations that are still borrowed.
    fn copy_segments(
        &self,
        segments: &mut [GntdevCopySegment; COPIES_AT_ONCE],
        count: u8,
    ) -> Result<(), Error> {
        const { assert!(COPIES_AT_ONCE <= u8::MAX as usize) };
        if count == 0 {
            return Ok(());
        }
        let mut call = GntdevGrantCopy { count: u32::from(count), segments: segments.as_mut_ptr() };
        // SAFETY: this ioctl takes a number of segments and the address of their array. `count` is
        // at most the array's length, and the array lives until the call returns. The kernel
        // accesses the local buffer of each segment: its operation borrows it, mutably if it is
        // written, and `segment` took the length from the buffer itself.
        unsafe { device::ioctl(&self.device, IOCTL_GNTDEV_GRANT_COPY, &raw mut call) }
            .map(drop)
            .map_err(|errno| Error::System { doing: "copy granted pages", errno })
    }
}

/// The device's bookkeeping of a mapping; dropped after the mapping itself.
#[derive(Debug)]
struct Reservation {
    device: Rc<File>,
    index: u64,
    count: u32,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut call = GntdevUnmap { index: self.index, count: self.count, pad: 0 };
        // SAFETY: this ioctl takes a `GntdevUnmap`, which `call` is; the kernel follows no address
        // in it. An error would mean that the device did not assign these numbers, and it did.
        let _ = unsafe { device::ioctl(&self.device, IOCTL_GNTDEV_UNMAP_GRANT_REF, &raw mut call) };
    }
}

/// Granted pages in this process's address space; unmapped when dropped.
///
/// The other domain may write to them at any time. All access is by copy or by atomic word. Offsets
/// outside of the mapping panic, so check a number from the other domain before using it as one.
#[derive(Debug)]
pub struct GrantMapping {
    // Dropped in this order: the pages are unmapped before the device removes its bookkeeping.
    mapping: SharedMapping,
    _reservation: Reservation,
}

impl GrantMapping {
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

    /// Copies bytes out. Bytes that the other domain changes meanwhile may be old or new.
    ///
    /// # Panics
    /// They are not all inside the mapping.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        self.mapping.read(offset, bytes);
    }

    /// Copies bytes in.
    ///
    /// # Panics
    /// They are not all inside the mapping.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        self.mapping.write(offset, bytes);
    }
}

impl SharedPage for GrantMapping {
    fn load(&self, offset: usize) -> u32 {
        self.mapping.load(offset)
    }

    fn store(&self, offset: usize, value: u32) {
        self.mapping.store(offset, value);
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) {
        self.mapping.read(offset, bytes);
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        self.mapping.write(offset, bytes);
    }
}

/// The local side of a copy.
#[derive(Debug)]
pub enum CopyLocal<'a> {
    /// Copy from here to the granted page.
    From(&'a [u8]),
    /// Copy from the granted page to here.
    To(&'a mut [u8]),
}

/// One copy between a buffer of this process and a granted page; the whole buffer is copied.
#[derive(Debug)]
pub struct CopyOp<'a> {
    /// The buffer, at most one page.
    pub local: CopyLocal<'a>,
    /// The domain that granted the page.
    pub domid: DomId,
    /// The grant.
    pub reference: GrantRef,
    /// The offset in the page, in bytes.
    pub offset: u16,
    /// Xen's status (`GNTST_*`, see [`xen_abi::grant_table`]) if the copy failed; set by
    /// [`GrantDevice::copy`].
    pub failed: Option<i16>,
}

impl<'a> CopyOp<'a> {
    /// Creates a copy from a granted page.
    #[must_use]
    pub fn from_grant(domid: DomId, reference: GrantRef, offset: u16, to: &'a mut [u8]) -> Self {
        Self { local: CopyLocal::To(to), domid, reference, offset, failed: None }
    }

    /// Creates a copy to a granted page.
    #[must_use]
    pub fn to_grant(domid: DomId, reference: GrantRef, offset: u16, from: &'a [u8]) -> Self {
        Self { local: CopyLocal::From(from), domid, reference, offset, failed: None }
    }

    /// Returns the kernel's form of the copy; `None` if it would cross the end of the granted page.
    fn segment(&mut self) -> Option<GntdevCopySegment> {
        let grant = GntdevCopyPtr {
            foreign: GntdevForeign {
                reference: self.reference.0,
                offset: self.offset,
                domid: self.domid.0,
            },
        };
        let (source, dest, length, flags) = match &mut self.local {
            CopyLocal::From(from) => {
                let local = GntdevCopyPtr { virt: from.as_ptr().cast_mut() };
                (local, grant, from.len(), GNTCOPY_DEST_GREF)
            }
            CopyLocal::To(to) => {
                let local = GntdevCopyPtr { virt: to.as_mut_ptr() };
                (grant, local, to.len(), GNTCOPY_SOURCE_GREF)
            }
        };
        if usize::from(self.offset) + length > PAGE_SIZE {
            return None;
        }
        Some(GntdevCopySegment { source, dest, len: u16::try_from(length).ok()?, flags, status: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_would_leave_its_page_is_refused() {
        let mut buffer = [0; 100];
        let mut copy =
            |offset| CopyOp::from_grant(DomId(1), GrantRef(8), offset, &mut buffer).segment();
        assert!(copy(0).is_some());
        assert_eq!(copy(3996).unwrap().len, 100);
        assert!(copy(3997).is_none());
        assert!(copy(u16::MAX).is_none());
    }
}
