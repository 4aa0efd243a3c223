//! Memory that hypercalls may point to.
//!
//! Xen reads and writes the arguments of a hypercall by their virtual address. Ordinary memory can
//! be moved by the kernel meanwhile, and the call then fails with EFAULT now and then; pages of
//! `/dev/xen/hypercall` stay where they are. Mapping them costs more than most hypercalls, so one
//! page is kept for as long as Xen is open, and one larger piece once it was needed.

use std::cell::{Ref, RefCell};
use std::fs::File;
use std::ops::Deref;

use nix::errno::Errno;
use xen_abi::domctl::DOMCTL_SIZE;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::device;
use crate::error::Error;
use crate::mapping::SharedMapping;
use crate::units::PAGE_SIZE;

/// Where the page's room for data begins. Before it is the call's own structure.
const DATA: usize = 256;
const _: () = assert!(DOMCTL_SIZE <= DATA, "no structure is longer than a domctl");

/// Hypercall memory. One hypercall at a time uses it: [`crate::Xen`] is not `Sync`.
#[derive(Debug)]
pub(crate) struct Arena {
    device: File,
    page: SharedMapping,
    large: RefCell<Option<SharedMapping>>,
}

impl Arena {
    pub(crate) fn open() -> Result<Self, Error> {
        let device = device::open("/dev/xen/hypercall", "xen-privcmd", 0)?;
        let page = SharedMapping::new(&device, 1, 0, true).map_err(no_memory)?;
        Ok(Self { device, page, large: RefCell::new(None) })
    }

    /// The place of the call's own structure.
    pub(crate) fn argument(&self) -> Data<'_> {
        Data { place: Place::Page(&self.page), start: 0, len: DATA }
    }

    /// A place for `len` bytes that the structure points to, with whatever is in it. There is one
    /// such place: it is given up before the next is asked for.
    pub(crate) fn data(&self, len: usize) -> Result<Data<'_>, Error> {
        if len <= PAGE_SIZE - DATA {
            return Ok(Data { place: Place::Page(&self.page), start: DATA, len });
        }
        if self.large.borrow().as_ref().is_none_or(|large| large.len() < len) {
            let larger = SharedMapping::new(&self.device, len.div_ceil(PAGE_SIZE), 0, true);
            *self.large.borrow_mut() = Some(larger.map_err(no_memory)?);
        }
        match Ref::filter_map(self.large.borrow(), Option::as_ref) {
            Ok(large) => Ok(Data { place: Place::Large(large), start: 0, len }),
            Err(_) => Err(no_memory(Errno::ENOMEM)),
        }
    }
}

fn no_memory(errno: Errno) -> Error {
    Error::System { doing: "get memory for hypercalls", errno }
}

#[derive(Debug)]
enum Place<'a> {
    Page(&'a SharedMapping),
    Large(Ref<'a, SharedMapping>),
}

impl Deref for Place<'_> {
    type Target = SharedMapping;

    fn deref(&self) -> &SharedMapping {
        match self {
            Self::Page(mapping) => mapping,
            Self::Large(mapping) => mapping,
        }
    }
}

/// A place in hypercall memory. Accesses outside of it panic.
#[derive(Debug)]
pub(crate) struct Data<'a> {
    place: Place<'a>,
    start: usize,
    len: usize,
}

impl Data<'_> {
    /// Its address, for Xen.
    pub(crate) fn address(&self) -> u64 {
        self.place.address().addr() as u64 + self.start as u64
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Writes a value.
    pub(crate) fn put<T: IntoBytes + Immutable + ?Sized>(&self, offset: usize, value: &T) {
        let bytes = value.as_bytes();
        self.place.write(self.checked(offset, bytes.len()), bytes);
    }

    /// Reads a value.
    pub(crate) fn get<T: FromBytes + IntoBytes>(&self, offset: usize) -> T {
        let mut value = T::new_zeroed();
        self.get_into(offset, &mut value);
        value
    }

    /// Reads a value into its place.
    pub(crate) fn get_into<T: FromBytes + IntoBytes + ?Sized>(&self, offset: usize, value: &mut T) {
        let bytes = value.as_mut_bytes();
        self.place.read(self.checked(offset, bytes.len()), bytes);
    }

    fn checked(&self, offset: usize, count: usize) -> usize {
        let inside = offset.checked_add(count).is_some_and(|end| end <= self.len);
        assert!(inside, "{count} bytes at {offset} of {} bytes of hypercall memory", self.len);
        self.start + offset
    }
}
