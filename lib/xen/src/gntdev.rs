//! Pages that other domains have granted, through `/dev/xen/gntdev`.
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
use crate::units::{DomId, GrantRef, PAGE_SIZE};

/// Most pages one [`GrantDevice::map`] maps.
pub const MAX_MAP: usize = 16;

/// Most copies in one system call. Further ones take another.
const COPIES_AT_ONCE: usize = 64;

/// The device.
#[derive(Clone, Debug)]
pub struct GrantDevice {
    device: Rc<File>,
}

impl GrantDevice {
    /// Opens the device.
    ///
    /// # Errors
    /// There is no Xen, or the user may not.
    pub fn open() -> Result<Self, Error> {
        let device = device::open("/dev/xen/gntdev", "xen-gntdev", 0)?;
        Ok(Self { device: Rc::new(device) })
    }

    /// Maps pages that a domain has granted to this one, one after the other.
    ///
    /// # Errors
    /// A grant does not exist or does not permit it, or there are more than [`MAX_MAP`].
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
        // SAFETY: the structure is this ioctl's: a header and, right behind it, as many references
        // as the header says, since `count` is at most the array's length.
        unsafe { device::ioctl(&self.device, IOCTL_GNTDEV_MAP_GRANT_REF, &raw mut call) }
            .map_err(failed)?;
        let reservation =
            Reservation { device: Rc::clone(&self.device), index: call.header.index, count };
        let mapping =
            SharedMapping::new(&self.device, references.len(), call.header.index, writable)
                .map_err(failed)?;
        Ok(GrantMapping { mapping, _reservation: reservation })
    }

    /// Copies between buffers of this process and granted pages, many in one system call. Each
    /// copy's result is in its [`CopyOp::failed`]: one that fails, or that would cross the end of
    /// its page, does not keep the others from being done.
    ///
    /// # Errors
    /// The kernel refuses the call as a whole, which it does if the process's own memory gives out.
    /// What was done of it is not known.
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
            let asked = ops.iter_mut().filter(|op| op.failed.is_none());
            for (op, segment) in asked.zip(&segments) {
                op.failed = (segment.status != GNTST_OKAY).then_some(segment.status);
            }
        }
        Ok(())
    }

    /// Makes the copies of the first `count` segments, which [`CopyOp::segment`] has made from
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
        // SAFETY: the structure is this ioctl's; it names `count` segments, which are no more than
        // there are and live until it returns. Each one's local side is a buffer that its
        // operation borrows, exclusively if it is written; `segment` has taken the length from the
        // buffer itself.
        unsafe { device::ioctl(&self.device, IOCTL_GNTDEV_GRANT_COPY, &raw mut call) }
            .map(drop)
            .map_err(|errno| Error::System { doing: "copy granted pages", errno })
    }
}

/// Tells the device to forget a mapping, after it has been unmapped.
#[derive(Debug)]
struct Reservation {
    device: Rc<File>,
    index: u64,
    count: u32,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut call = GntdevUnmap { index: self.index, count: self.count, pad: 0 };
        // SAFETY: the structure is this ioctl's. It only fails if the numbers are not the
        // device's own, which they are.
        let _ = unsafe { device::ioctl(&self.device, IOCTL_GNTDEV_UNMAP_GRANT_REF, &raw mut call) };
    }
}

/// Granted pages in this process's address space; unmapped when dropped.
///
/// The other domain may write to them at any time. All access is by copy or by atomic word, and
/// offsets outside of the mapping panic: they are mistakes of the caller, so check what comes
/// from the other domain before using it as an offset.
#[derive(Debug)]
pub struct GrantMapping {
    // Dropped in this order: the pages are unmapped before the device forgets them.
    mapping: SharedMapping,
    _reservation: Reservation,
}

impl GrantMapping {
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

    /// Reads a word; reads and writes that follow are not done before.
    ///
    /// # Panics
    /// The offset is no multiple of four or outside the mapping.
    #[must_use]
    pub fn read_u32(&self, offset: usize) -> u32 {
        self.mapping.load(offset)
    }

    /// Writes a word; reads and writes that precede are done before it is visible.
    ///
    /// # Panics
    /// The offset is no multiple of four or outside the mapping.
    pub fn write_u32(&self, offset: usize, value: u32) {
        self.mapping.store(offset, value);
    }

    /// Copies bytes out. What the other domain writes meanwhile may be seen in part.
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
    /// Whose page.
    pub domid: DomId,
    /// Which page.
    pub reference: GrantRef,
    /// Where in the page.
    pub offset: u16,
    /// Xen's status (`GNTST_*`, see [`xen_abi::grant_table`]) if the copy failed; set by
    /// [`GrantDevice::copy`].
    pub failed: Option<i16>,
}

impl<'a> CopyOp<'a> {
    /// A copy from a granted page.
    #[must_use]
    pub fn from_grant(domid: DomId, reference: GrantRef, offset: u16, to: &'a mut [u8]) -> Self {
        Self { local: CopyLocal::To(to), domid, reference, offset, failed: None }
    }

    /// A copy to a granted page.
    #[must_use]
    pub fn to_grant(domid: DomId, reference: GrantRef, offset: u16, from: &'a [u8]) -> Self {
        Self { local: CopyLocal::From(from), domid, reference, offset, failed: None }
    }

    /// `None` if the copy would cross the end of the granted page.
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
    fn a_copy_stays_in_its_page() {
        let mut buffer = [0; 100];
        let mut copy =
            |offset| CopyOp::from_grant(DomId(1), GrantRef(8), offset, &mut buffer).segment();
        assert!(copy(0).is_some());
        assert_eq!(copy(3996).unwrap().len, 100);
        assert!(copy(3997).is_none());
        assert!(copy(u16::MAX).is_none());
    }
}
