//! Which structures may be handed to Xen, and what Xen does with the addresses in them.
//!
//! `unsafe`: the two traits promise what the compiler cannot see, namely which memory of this
//! process Xen touches on behalf of a structure.
#![allow(unsafe_code)]

use xen_abi::{domctl, event_channel, hvm, memory, sysctl};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A structure without addresses.
///
/// # Safety
/// No hypercall that takes the structure follows an address in it.
pub(crate) unsafe trait Flat: FromBytes + IntoBytes + Immutable {}

/// A structure with one address.
///
/// # Safety
/// After `point_to(address, len)`, a hypercall that takes the structure touches no memory of this
/// process but `len` bytes from `address` on, through any address in it.
pub(crate) unsafe trait Pointing: FromBytes + IntoBytes + Immutable {
    /// Sets the address, and the length in the structure's own units.
    fn point_to(&mut self, address: u64, len: usize);
}

macro_rules! flat {
    ($($name:ty),* $(,)?) => {
        $(
            // SAFETY: the structure's fields are numbers, none of them an address in the caller's
            // memory (see the header that its definition names).
            unsafe impl Flat for $name {}
        )*
    };
}

flat!(
    [u8; 0],
    domctl::CreateDomain16,
    domctl::CreateDomain17,
    domctl::GetDomainInfo,
    domctl::MaxMem,
    domctl::MaxVcpus,
    domctl::PagingMempool,
    sysctl::PhysInfo,
    event_channel::AllocUnbound,
    event_channel::EvtchnStatus,
    hvm::HvmParam,
);

fn count(len: usize, size: usize) -> u32 {
    // Rounded down and cut off: Xen is never told of more than there is.
    u32::try_from(len / size).unwrap_or(u32::MAX)
}

// SAFETY: Xen reads or writes at most `size` bytes at `buffer`.
unsafe impl Pointing for domctl::HvmContext {
    fn point_to(&mut self, address: u64, len: usize) {
        self.buffer = address;
        self.size = count(len, 1);
    }
}

// SAFETY: Xen writes at most `max_domains` structures at `buffer`.
unsafe impl Pointing for sysctl::GetDomainInfoList {
    fn point_to(&mut self, address: u64, len: usize) {
        self.buffer = address;
        self.max_domains = count(len, size_of::<domctl::GetDomainInfo>());
    }
}

// SAFETY: Xen reads, and for `populate_physmap` of a caller with translated memory writes, at most
// `nr_extents` frame numbers at `extent_start`.
unsafe impl Pointing for memory::MemoryReservation {
    fn point_to(&mut self, address: u64, len: usize) {
        self.extent_start = address;
        self.nr_extents = u64::from(count(len, size_of::<u64>()));
    }
}

// SAFETY: Xen reads at most `nr_entries` entries of the map at `buffer`.
unsafe impl Pointing for memory::ForeignMemoryMap {
    fn point_to(&mut self, address: u64, len: usize) {
        self.buffer = address;
        self.nr_entries = count(len, size_of::<memory::E820Entry>());
    }
}

// SAFETY: Xen reads and writes at most `size` bytes at `h`.
unsafe impl Pointing for hvm::DmOpBuf {
    fn point_to(&mut self, address: u64, len: usize) {
        self.h = address;
        self.size = u64::from(count(len, 1));
    }
}
