//! Memory that hypercalls may point to.
//!
//! Xen reads and writes the arguments of a hypercall by their virtual address. Ordinary memory can
//! be moved by the kernel meanwhile, and the call then fails with EFAULT now and then; pages of
//! `/dev/xen/hypercall` stay where they are. One small piece is kept and used for each call.

use std::fs::File;

use nix::errno::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::mapping::SharedMapping;
use crate::units::PAGE_SIZE;

/// Pages in the arena: enough for 128 `getdomaininfo` (14 KiB) beside the call's own structure.
const PAGES: usize = 4;

/// Where arguments that the call's structure points to begin. No structure is longer.
pub(crate) const EXTRA: usize = 256;

/// Room for them.
pub(crate) const EXTRA_LEN: usize = PAGES * PAGE_SIZE - EXTRA;

/// The memory. Only one hypercall at a time uses it: [`crate::Xen`] is not `Sync`.
#[derive(Debug)]
pub(crate) struct Arena {
    pages: SharedMapping,
}

impl Arena {
    pub(crate) fn new(device: &File) -> Result<Self, Errno> {
        Ok(Self { pages: SharedMapping::new(device, PAGES, 0, true)? })
    }

    /// The address of an offset, for putting into an argument.
    pub(crate) fn address(&self, offset: usize) -> u64 {
        self.pages.address().addr() as u64 + offset as u64
    }

    /// Puts a structure at an offset.
    pub(crate) fn put<T: IntoBytes + Immutable>(&self, offset: usize, value: &T) {
        self.pages.write(offset, value.as_bytes());
    }

    /// Gets a structure back.
    pub(crate) fn get<T: FromBytes + IntoBytes>(&self, offset: usize) -> T {
        let mut value = T::new_zeroed();
        self.pages.read(offset, value.as_mut_bytes());
        value
    }

    /// Puts bytes at an offset.
    pub(crate) fn put_bytes(&self, offset: usize, bytes: &[u8]) {
        self.pages.write(offset, bytes);
    }

    /// Clears bytes.
    pub(crate) fn clear(&self, offset: usize, count: usize) {
        self.pages.fill_zero(offset, count);
    }
}
