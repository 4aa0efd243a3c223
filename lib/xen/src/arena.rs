// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that hypercalls may point to.
//!
//! Xen accesses the arguments of a hypercall by their virtual address. The kernel may move ordinary
//! memory during the call, which then fails with EFAULT now and then; pages of `/dev/xen/hypercall`
//! are never moved. Mapping them costs more than most hypercalls, so one page stays mapped as long
//! as Xen is open, and one larger piece from its first use on.

use std::cell::{Ref, RefCell};
use std::fs::File;
use std::ops::Deref;

use nix::errno::Errno;
use xen_abi::domctl::DOMCTL_SIZE;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::cpu_map::CpuMap;
use crate::device;
use crate::error::Error;
use crate::mapping::SharedMapping;
use crate::placement::Placement;
use crate::units::PAGE_SIZE;

/// Offset of the data in the page. The call's own structure comes before it.
const DATA: usize = 256;
const _: () = assert!(DOMCTL_SIZE <= DATA, "no structure is longer than a domctl");

/// Hypercall memory. Only one hypercall at a time uses it, because [`crate::Xen`] is not `Sync`.
#[derive(Debug)]
pub(crate) struct Arena {
    device: File,
    page: SharedMapping,
    large: RefCell<Option<SharedMapping>>,
    placement: Placement,
}

impl Arena {
    pub(crate) fn open(placement: Placement) -> Result<Self, Error> {
        let device = device::open("/dev/xen/hypercall", "xen-privcmd", 0)?;
        let page = SharedMapping::new(&device, 1, 0, true, &placement).map_err(no_memory)?;
        Ok(Self { device, page, large: RefCell::new(None), placement })
    }

    /// Returns where this process's mappings of Xen's devices go.
    pub(crate) fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Returns the memory for the call's own structure.
    pub(crate) fn argument(&self) -> Data<'_> {
        Data { memory: Memory::Page(&self.page), start: 0, len: DATA }
    }

    /// Returns memory for `len` bytes that the structure points to; its contents are stale. There
    /// is only one such piece: drop it before asking for the next.
    pub(crate) fn data(&self, len: usize) -> Result<Data<'_>, Error> {
        if len <= PAGE_SIZE - DATA {
            return Ok(Data { memory: Memory::Page(&self.page), start: DATA, len });
        }
        if self.large.borrow().as_ref().is_none_or(|large| large.len() < len) {
            let pages = len.div_ceil(PAGE_SIZE);
            let larger = SharedMapping::new(&self.device, pages, 0, true, &self.placement);
            *self.large.borrow_mut() = Some(larger.map_err(no_memory)?);
        }
        match Ref::filter_map(self.large.borrow(), Option::as_ref) {
            Ok(large) => Ok(Data { memory: Memory::Large(large), start: 0, len }),
            Err(_) => Err(no_memory(Errno::ENOMEM)),
        }
    }
}

fn no_memory(errno: Errno) -> Error {
    Error::System { doing: "map memory for hypercalls", errno }
}

#[derive(Debug)]
enum Memory<'a> {
    Page(&'a SharedMapping),
    Large(Ref<'a, SharedMapping>),
}

impl Deref for Memory<'_> {
    type Target = SharedMapping;

    fn deref(&self) -> &SharedMapping {
        match self {
            Self::Page(mapping) => mapping,
            Self::Large(mapping) => mapping,
        }
    }
}

/// A piece of hypercall memory. Accesses outside of it panic.
#[derive(Debug)]
pub(crate) struct Data<'a> {
    memory: Memory<'a>,
    start: usize,
    len: usize,
}

impl Data<'_> {
    /// Returns its virtual address, for Xen.
    pub(crate) fn address(&self) -> u64 {
        self.memory.address().addr() as u64 + self.start as u64
    }

    /// Returns its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Writes a value.
    pub(crate) fn put<T: IntoBytes + Immutable + ?Sized>(&self, offset: usize, value: &T) {
        let bytes = value.as_bytes();
        self.memory.write(self.checked(offset, bytes.len()), bytes);
    }

    /// Reads a value.
    pub(crate) fn get<T: FromBytes + IntoBytes>(&self, offset: usize) -> T {
        let mut value = T::new_zeroed();
        self.get_into(offset, &mut value);
        value
    }

    /// Reads a value into `value`.
    pub(crate) fn get_into<T: FromBytes + IntoBytes + ?Sized>(&self, offset: usize, value: &mut T) {
        let bytes = value.as_mut_bytes();
        self.memory.read(self.checked(offset, bytes.len()), bytes);
    }

    /// Reads all of it as a bitmap of CPUs.
    pub(crate) fn cpu_map(&self) -> CpuMap {
        let mut bytes = vec![0; self.len];
        self.get_into(0, bytes.as_mut_slice());
        CpuMap::from_bytes(&bytes)
    }

    fn checked(&self, offset: usize, count: usize) -> usize {
        let inside = offset.checked_add(count).is_some_and(|end| end <= self.len);
        assert!(inside, "{count} bytes at {offset} of {} bytes of hypercall memory", self.len);
        self.start + offset
    }
}
