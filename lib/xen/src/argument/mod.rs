// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which structures may be passed to Xen, and what Xen does with the addresses in them.
//!
//! `unsafe`: the traits state what the compiler cannot check, namely which memory of this
//! process Xen accesses through a structure.
#![allow(unsafe_code)]

use xen_abi::hypercall::Bitmap;
use xen_abi::{domctl, event_channel, hvm, memory, sysctl, version};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A structure without addresses.
///
/// # Safety
/// After `check` has returned, no hypercall that takes the structure follows an address in it.
pub(crate) unsafe trait Flat: FromBytes + IntoBytes + Immutable {
    /// Panics if the structure has a union, and its contents select a member that holds an address.
    fn check(&self) {}
}

/// A structure with the address of a piece of memory, or with addresses inside of the piece.
///
/// # Safety
/// After `point_to(address, len)`, the structure has no address outside of the `len` bytes at `address`,
/// and a hypercall that takes the structure accesses at most these bytes.
pub(crate) unsafe trait Pointing: FromBytes + IntoBytes + Immutable {
    /// Sets the address, and the length in the structure's own units.
    fn point_to(&mut self, address: u64, len: usize);
}

/// A structure of the hypercall `xen_version`.
///
/// # Safety
/// `COMMAND` takes the structure. After `limit`, Xen accesses nothing else through its address.
pub(crate) unsafe trait VersionQuery: FromBytes + IntoBytes + Immutable {
    /// The command number.
    const COMMAND: u64;

    /// Sets the length of what Xen may write, if the structure says it.
    fn limit(&mut self) {}
}

macro_rules! flat {
    ($($name:ty),* $(,)?) => {
        $(
            // SAFETY: no field of the structure is an address in the caller's memory, as the Xen
            // header that its definition names shows, or the hypercall refuses one other than 0; so no
            // hypercall follows one.
            unsafe impl Flat for $name {}
        )*
    };
}

flat!(
    [u8; 0],
    domctl::CreateDomain16,
    domctl::CreateDomain17,
    domctl::GetDomainInfo,
    domctl::GetDomainState,
    domctl::GetVcpuInfo,
    domctl::MaxMem,
    domctl::MaxVcpus,
    domctl::PagingMempool,
    domctl::SendTrigger,
    domctl::SetDomainHandle,
    domctl::SetTimeOffset,
    domctl::TscInfo,
    memory::MemoryDomain,
    memory::PageClaim,
    sysctl::PhysInfo,
    sysctl::SchedId,
    event_channel::AllocUnbound,
    event_channel::EvtchnStatus,
    hvm::HvmParam,
);

// SAFETY: the union holds an address for the commands on single vCPUs only. `check` admits the two
// others.
unsafe impl Flat for domctl::SchedulerOp {
    fn check(&self) {
        let admitted = [domctl::XEN_DOMCTL_SCHEDOP_PUTINFO, domctl::XEN_DOMCTL_SCHEDOP_GETINFO];
        assert!(admitted.contains(&self.cmd), "command {} of scheduler_op", self.cmd);
    }
}

// SAFETY: the union holds an address for the scheduler ARINC 653 only. `check` admits two others.
unsafe impl Flat for sysctl::SchedulerOp {
    fn check(&self) {
        let admitted = [domctl::XEN_SCHEDULER_CREDIT, domctl::XEN_SCHEDULER_CREDIT2];
        assert!(admitted.contains(&self.sched_id), "scheduler {}", self.sched_id);
    }
}

fn count(len: usize, size: usize) -> u32 {
    // Rounds down and saturates, so that Xen never accesses more than there is.
    u32::try_from(len / size).unwrap_or(u32::MAX)
}

// SAFETY: the only address is `buffer`, where Xen reads or writes at most `size` bytes; `size` is
// at most `len`.
unsafe impl Pointing for domctl::HvmContext {
    fn point_to(&mut self, address: u64, len: usize) {
        self.buffer = address;
        self.size = count(len, 1);
    }
}

// SAFETY: the only address is `buffer`, where Xen writes at most `max_domains` structures, which
// fit into `len` bytes.
unsafe impl Pointing for sysctl::GetDomainInfoList {
    fn point_to(&mut self, address: u64, len: usize) {
        self.buffer = address;
        self.max_domains = count(len, size_of::<domctl::GetDomainInfo>());
    }
}

// SAFETY: the only address is `extent_start`, where Xen reads at most `nr_extents` frame numbers,
// and also writes them if `populate_physmap` is called by a domain with translated memory; they fit
// into `len` bytes.
unsafe impl Pointing for memory::MemoryReservation {
    fn point_to(&mut self, address: u64, len: usize) {
        self.extent_start = address;
        self.nr_extents = u64::from(count(len, size_of::<u64>()));
    }
}

// SAFETY: the only address is `buffer`, where Xen reads at most `nr_entries` entries, which fit
// into `len` bytes.
unsafe impl Pointing for memory::ForeignMemoryMap {
    fn point_to(&mut self, address: u64, len: usize) {
        self.buffer = address;
        self.nr_entries = count(len, size_of::<memory::E820Entry>());
    }
}

// SAFETY: the only address is `h`, where Xen reads and writes at most `size` bytes; `size` is at
// most `len`.
unsafe impl Pointing for hvm::DmOpBuf {
    fn point_to(&mut self, address: u64, len: usize) {
        self.h = address;
        self.size = u64::from(count(len, 1));
    }
}

fn bitmap(address: u64, len: usize) -> Bitmap {
    Bitmap { bitmap: address, nr_bits: count(len, 1).saturating_mul(u8::BITS), pad: 0 }
}

// SAFETY: `flags` decides which of the two maps gets the address; the other one has none. There Xen
// reads and writes at most the bytes for `nr_bits`, which fit into `len` bytes.
unsafe impl Pointing for domctl::VcpuAffinity {
    fn point_to(&mut self, address: u64, len: usize) {
        (self.cpumap_hard, self.cpumap_soft) = (Bitmap::default(), Bitmap::default());
        match self.flags & domctl::XEN_VCPUAFFINITY_HARD {
            0 => self.cpumap_soft = bitmap(address, len),
            _ => self.cpumap_hard = bitmap(address, len),
        }
    }
}

// SAFETY: the only address is that of `nodemap`, where Xen writes at most the bytes for `nr_bits`,
// which fit into `len` bytes.
unsafe impl Pointing for domctl::NodeAffinity {
    fn point_to(&mut self, address: u64, len: usize) {
        self.nodemap = bitmap(address, len);
    }
}

// SAFETY: the only address is that of `cpumap`, where Xen writes at most the bytes for `nr_bits`,
// which fit into `len` bytes.
unsafe impl Pointing for sysctl::CpupoolOp {
    fn point_to(&mut self, address: u64, len: usize) {
        self.cpumap = bitmap(address, len);
    }
}

// SAFETY: the only address is `buffer`, where Xen writes at most `count` bytes; `count` is at most
// `len`.
unsafe impl Pointing for sysctl::ReadConsole {
    fn point_to(&mut self, address: u64, len: usize) {
        self.buffer = address;
        self.count = count(len, 1);
    }
}

// SAFETY: the only address is `keys`, where Xen reads at most `nr_keys` bytes; `nr_keys` is at most
// `len`.
unsafe impl Pointing for sysctl::DebugKeys {
    fn point_to(&mut self, address: u64, len: usize) {
        self.keys = address;
        self.nr_keys = count(len, 1);
    }
}

// SAFETY: the only address is `info`, where Xen writes at most `max_cpus` times of 8 bytes, which
// fit into `len` bytes.
unsafe impl Pointing for sysctl::GetCpuInfo {
    fn point_to(&mut self, address: u64, len: usize) {
        self.info = address;
        self.max_cpus = count(len, size_of::<u64>());
    }
}

// SAFETY: the only address is `cputopo`, where Xen writes at most `num_cpus` structures, which fit
// into `len` bytes.
unsafe impl Pointing for sysctl::CpuTopoInfo {
    fn point_to(&mut self, address: u64, len: usize) {
        self.cputopo = address;
        self.num_cpus = count(len, size_of::<sysctl::CpuTopo>());
    }
}

// SAFETY: the only address is `meminfo`, because `distance` is 0. There Xen writes at most
// `num_nodes` structures, which fit into `len` bytes.
unsafe impl Pointing for sysctl::NumaMemory {
    fn point_to(&mut self, address: u64, len: usize) {
        (self.meminfo, self.distance) = (address, 0);
        self.num_nodes = count(len, size_of::<sysctl::MemInfo>());
    }
}

// SAFETY: the only address is `distance`, because `meminfo` is 0. There Xen writes at most the
// square of `num_nodes` numbers of 4 bytes, which fit into `len` bytes.
unsafe impl Pointing for sysctl::NumaDistances {
    fn point_to(&mut self, address: u64, len: usize) {
        (self.meminfo, self.distance) = (0, address);
        self.num_nodes = count(len, size_of::<u32>()).isqrt();
    }
}

// SAFETY: the only addresses are `devs`, where Xen reads at most `num_devs` structures, and `nodes` behind
// them, where it writes at most as many numbers. Both fit into `len` bytes together.
unsafe impl Pointing for sysctl::PciTopoInfo {
    fn point_to(&mut self, address: u64, len: usize) {
        let of_device = size_of::<sysctl::PciDevice>();
        self.num_devs = count(len, of_device + size_of::<u32>());
        (self.devs, self.nodes) = (address, address + u64::from(self.num_devs) * of_device as u64);
    }
}

macro_rules! version_query {
    ($($name:ty = $command:expr),* $(,)?) => {
        $(
            // SAFETY: Xen's `version.h` pairs the command with this structure, and Xen writes the
            // whole structure and nothing else.
            unsafe impl VersionQuery for $name {
                const COMMAND: u64 = $command;
            }
        )*
    };
}

version_query!(
    version::ExtraVersion = version::XENVER_EXTRAVERSION,
    version::CompileInfo = version::XENVER_COMPILE_INFO,
    version::CapabilitiesInfo = version::XENVER_CAPABILITIES,
    version::ChangesetInfo = version::XENVER_CHANGESET,
    version::PlatformParameters = version::XENVER_PLATFORM_PARAMETERS,
    version::CommandLine = version::XENVER_COMMANDLINE,
);

// SAFETY: Xen's `version.h` pairs the command with this structure. Xen reads `len` and writes at
// most so many bytes to `buf`, which `limit` makes its size.
unsafe impl VersionQuery for version::BuildId {
    const COMMAND: u64 = version::XENVER_BUILD_ID;

    fn limit(&mut self) {
        self.len = count(self.buf.len(), 1);
    }
}

#[cfg(test)]
mod tests;
