// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's CPUs and NUMA nodes.

use xen_abi::domctl::{NodeAffinity, XEN_DOMCTL_GETNODEAFFINITY};
use xen_abi::sysctl::{self, CpuTopo, CpuTopoInfo, GetCpuInfo, MemInfo, NumaDistances, NumaMemory};
use zerocopy::{FromBytes, IntoBytes};

use crate::arena::Data;
use crate::cpu_map::CpuMap;
use crate::error::Error;
use crate::hypercall::Xen;
use crate::units::{Bytes, DomId};

/// The most NUMA nodes that Xen supports on x86 (`CONFIG_NR_NUMA_NODES`).
const MAX_NODES: usize = 64;

/// Where a CPU is (`struct xen_sysctl_cputopo`). `None` is what Xen does not know: on a machine with
/// one CPU it may know no core and socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuPlace {
    /// Its number.
    pub cpu: u32,
    /// The core that it is a thread of; numbers are per socket.
    pub core: Option<u32>,
    /// Its socket.
    pub socket: Option<u32>,
    /// Its NUMA node.
    pub node: Option<u32>,
}

/// A NUMA node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumaNode {
    /// Its number.
    pub node: u32,
    /// The memory that it spans, holes included.
    pub size: Bytes,
    /// Its free memory.
    pub free: Bytes,
    /// The distance to each node, by number, from the firmware: 10 is the node itself. `None` if
    /// the firmware does not say, or the node is offline.
    pub distances: Vec<Option<u32>>,
}

impl Xen {
    /// Returns where each CPU is, in the order of their numbers. Leaves out those that are missing.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn cpu_topology(&self) -> Result<Vec<CpuPlace>, Error> {
        let data = self.data(self.possible_cpus()? * size_of::<CpuTopo>())?;
        let mut raw = CpuTopoInfo::default();
        let cmd = sysctl::XEN_SYSCTL_CPUTOPOINFO;
        self.sysctl_with("sysctl cputopoinfo", cmd, &mut raw, &data)?;
        Ok((0..).zip(entries(&data, raw.num_cpus)).filter_map(place).collect())
    }

    /// Returns how long each CPU has been idle since Xen started, in nanoseconds, by number. A CPU
    /// that is offline counts on or has 0.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn cpu_idle_times_ns(&self) -> Result<Vec<u64>, Error> {
        let data = self.data(self.possible_cpus()? * size_of::<u64>())?;
        let mut raw = GetCpuInfo::default();
        let cmd = sysctl::XEN_SYSCTL_GETCPUINFO;
        self.sysctl_with("sysctl getcpuinfo", cmd, &mut raw, &data)?;
        Ok(entries(&data, raw.nr_cpus))
    }

    /// Returns the NUMA nodes that are online, in the order of their numbers.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn numa_nodes(&self) -> Result<Vec<NumaNode>, Error> {
        let (name, cmd) = ("sysctl numainfo", sysctl::XEN_SYSCTL_NUMAINFO);
        let mut raw = NumaMemory::default();
        let data = self.data(MAX_NODES * size_of::<MemInfo>())?;
        self.sysctl_with(name, cmd, &mut raw, &data)?;
        let memory: Vec<MemInfo> = entries(&data, raw.num_nodes);
        drop(data);
        let mut raw = NumaDistances::default();
        let data = self.data(MAX_NODES * MAX_NODES * size_of::<u32>())?;
        self.sysctl_with(name, cmd, &mut raw, &data)?;
        // Xen writes a square: a row for each node.
        let row = usize::try_from(raw.num_nodes).map_or(MAX_NODES, |count| count.min(MAX_NODES));
        let square = u32::try_from(row * row).unwrap_or(0);
        Ok(nodes(&memory, &entries(&data, square), row))
    }

    /// Returns the numbers of the NUMA nodes from which Xen prefers to take a domain's memory; as a set
    /// of CPUs, which prints them as xl does. The domain may be dom0: nothing is changed.
    ///
    /// # Errors
    /// `ESRCH` if there is no such domain.
    pub fn node_affinity(&self, domid: DomId) -> Result<CpuMap, Error> {
        let data = self.data(MAX_NODES / 8)?;
        let mut raw = NodeAffinity::default();
        let cmd = XEN_DOMCTL_GETNODEAFFINITY;
        self.domctl_with("domctl getnodeaffinity", cmd, domid, &mut raw, &data)?;
        Ok(data.cpu_map())
    }
}

/// Returns the entries at the start of the data, at most as many as it holds.
fn entries<T: FromBytes + IntoBytes>(data: &Data<'_>, count: u32) -> Vec<T> {
    let room = data.len() / size_of::<T>();
    let count = usize::try_from(count).map_or(room, |count| count.min(room));
    (0..count).map(|index| data.get(index * size_of::<T>())).collect()
}

fn place((cpu, raw): (u32, CpuTopo)) -> Option<CpuPlace> {
    let known = |number: u32, invalid: u32| (number != invalid).then_some(number);
    let core = known(raw.core, sysctl::XEN_INVALID_CORE_ID);
    let socket = known(raw.socket, sysctl::XEN_INVALID_SOCKET_ID);
    let node = known(raw.node, sysctl::XEN_INVALID_NODE_ID);
    // Of a CPU that is missing, Xen knows none of these.
    let present = core.is_some() || socket.is_some() || node.is_some();
    present.then_some(CpuPlace { cpu, core, socket, node })
}

/// Returns the nodes that are online. `distances` has rows of `row` numbers.
fn nodes(memory: &[MemInfo], distances: &[u32], row: usize) -> Vec<NumaNode> {
    let offline = u64::from(sysctl::XEN_INVALID_MEM_SZ);
    let known = |distance: &u32| (*distance != sysctl::XEN_INVALID_NODE_DIST).then_some(*distance);
    // A row of no numbers has no chunks; a node without a row has no distances.
    let mut rows = distances.chunks_exact(row.max(1));
    let mut found = Vec::new();
    for (node, MemInfo { memsize, memfree }) in (0..).zip(memory) {
        let distances = rows.next().unwrap_or_default().iter().map(known).collect();
        if *memsize != offline {
            let (size, free) = (Bytes(*memsize), Bytes(*memfree));
            found.push(NumaNode { node, size, free, distances });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: u32 = u32::MAX;

    #[test]
    fn only_cpus_of_which_nothing_is_known_are_left_out() {
        let raw = CpuTopo { core: 1, socket: 2, node: 3 };
        let (core, socket, node) = (Some(1), Some(2), Some(3));
        assert_eq!(place((5, raw)), Some(CpuPlace { cpu: 5, core, socket, node }));
        let raw = CpuTopo { core: NONE, socket: NONE, node: 0 };
        let (core, socket, node) = (None, None, Some(0));
        assert_eq!(place((0, raw)), Some(CpuPlace { cpu: 0, core, socket, node }));
        assert_eq!(place((5, CpuTopo { core: NONE, socket: NONE, node: NONE })), None);
    }

    #[test]
    fn each_node_has_its_row_of_distances() {
        let online = |memsize| MemInfo { memsize, memfree: 1 };
        let offline = MemInfo { memsize: NONE.into(), memfree: NONE.into() };
        let memory = [online(10), offline, online(30)];
        let found = nodes(&memory, &[10, NONE, 21, NONE, NONE, NONE, 21, NONE, 10], 3);
        let numbers: Vec<u32> = found.iter().map(|node| node.node).collect();
        assert_eq!(numbers, [0, 2]);
        assert_eq!(found[1].size, Bytes(30));
        assert_eq!(found[1].distances, [Some(21), None, Some(10)]);
    }

    #[test]
    fn fewer_distances_than_nodes_are_no_panic() {
        let memory = [MemInfo { memsize: 1, memfree: 1 }; 3];
        let found = nodes(&memory, &[10, 20, 20, 10], 2);
        assert_eq!(found.len(), 3);
        assert_eq!(found[2].distances, []);
        assert_eq!(nodes(&memory, &[], 0).len(), 3);
        assert_eq!(nodes(&[], &[10], 1), []);
    }
}
