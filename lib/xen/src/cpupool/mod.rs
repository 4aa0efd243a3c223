// SPDX-License-Identifier: MIT OR Apache-2.0
//! cpupools: groups of CPUs with a scheduler of their own. Each domain is in one.
//!
//! Xen's errors are described in `public/sysctl.h`, at `struct xen_sysctl_cpupool_op`.

use nix::errno::Errno;
use xen_abi::sysctl::{self, CpupoolOp};

use crate::cpu_map::CpuMap;
use crate::error::Error;
use crate::hypercall::{Xen, guest_only};
use crate::sched::Scheduler;
use crate::units::{CpupoolId, DomId};

/// How often a CPU that is busy in Xen is removed again, before the error is returned. libxc tries
/// without end, but only five times if a vCPU is pinned.
const ATTEMPTS: u32 = 1000;

/// What Xen reports about a cpupool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpupool {
    /// Its number.
    pub id: CpupoolId,
    /// Its scheduler.
    pub scheduler: Scheduler,
    /// The number of domains in it.
    pub domains: u32,
    /// Its CPUs.
    pub cpus: CpuMap,
}

impl Xen {
    /// Creates a cpupool without CPUs. Returns its number, which Xen chooses.
    ///
    /// # Errors
    /// `ENOENT` if this Xen does not have the scheduler, `ENOSPC` if there are twice as many
    /// cpupools as CPUs already, `ENOMEM` if Xen has too little memory.
    pub fn create_cpupool(&self, scheduler: Scheduler) -> Result<CpupoolId, Error> {
        let mut raw = CpupoolOp {
            op: sysctl::XEN_SYSCTL_CPUPOOL_OP_CREATE,
            cpupool_id: sysctl::XEN_SYSCTL_CPUPOOL_PAR_ANY,
            sched_id: scheduler.number(),
            ..CpupoolOp::default()
        };
        self.cpupool_call("sysctl cpupool_op create", &mut raw)?;
        Ok(CpupoolId(raw.cpupool_id))
    }

    /// Destroys a cpupool. Move its domains and remove its CPUs first.
    ///
    /// # Errors
    /// `ENOENT` if it does not exist, `EBUSY` if it has CPUs or domains.
    pub fn destroy_cpupool(&self, pool: CpupoolId) -> Result<(), Error> {
        let op = sysctl::XEN_SYSCTL_CPUPOOL_OP_DESTROY;
        let mut raw = CpupoolOp { op, cpupool_id: pool.0, ..CpupoolOp::default() };
        self.cpupool_call("sysctl cpupool_op destroy", &mut raw)
    }

    /// Returns what Xen reports about a cpupool; `None` if it does not exist.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn cpupool(&self, pool: CpupoolId) -> Result<Option<Cpupool>, Error> {
        Ok(self.next_cpupool(pool)?.filter(|found| found.id == pool))
    }

    /// Returns what Xen reports about all cpupools, in the order of their numbers.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn cpupools(&self) -> Result<Vec<Cpupool>, Error> {
        collect_pools(|first| self.next_cpupool(first))
    }

    /// Returns the cpupool with this number, or else the one with the next higher number.
    fn next_cpupool(&self, first: CpupoolId) -> Result<Option<Cpupool>, Error> {
        let op = sysctl::XEN_SYSCTL_CPUPOOL_OP_INFO;
        let mut raw = CpupoolOp { op, cpupool_id: first.0, ..CpupoolOp::default() };
        match self.cpupool_map_call("sysctl cpupool_op info", &mut raw) {
            Ok(cpus) => Ok(Some(Cpupool {
                id: CpupoolId(raw.cpupool_id),
                scheduler: Scheduler::from_number(raw.sched_id),
                domains: raw.n_dom,
                cpus,
            })),
            Err(Error::Hypercall { errno: Errno::ENOENT, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the CPUs that are in no cpupool.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn free_cpus(&self) -> Result<CpuMap, Error> {
        let op = sysctl::XEN_SYSCTL_CPUPOOL_OP_FREEINFO;
        let mut raw = CpupoolOp { op, ..CpupoolOp::default() };
        self.cpupool_map_call("sysctl cpupool_op freeinfo", &mut raw)
    }

    /// Adds a CPU that is in no cpupool. If Xen was started with `sched-gran=core` or `socket`,
    /// this adds the other CPUs of the core or socket, too.
    ///
    /// # Errors
    /// `ENOENT` if the cpupool does not exist, `EINVAL` if the CPU does not, `ENODEV` if it is in a
    /// cpupool or offline, `EADDRNOTAVAIL` if its removal from another cpupool is incomplete.
    pub fn add_cpu(&self, pool: CpupoolId, cpu: u32) -> Result<(), Error> {
        let op = sysctl::XEN_SYSCTL_CPUPOOL_OP_ADDCPU;
        self.cpu_call("sysctl cpupool_op addcpu", op, pool, cpu)
    }

    /// Removes a CPU from a cpupool, and with it those that [`Xen::add_cpu`] adds with it. vCPUs move to
    /// other CPUs of the cpupool; those that may run on no other lose their affinity. While Xen
    /// reports that the CPU is busy, this tries again, up to 1000 times.
    ///
    /// # Errors
    /// `ENOENT` if the cpupool does not exist, `EINVAL` if the CPU does not or is offline, and for
    /// CPU 0 in the first cpupool, where it stays. `EADDRNOTAVAIL` if it is not in the cpupool,
    /// `EBUSY` if it is the last one and the cpupool has domains. After `EAGAIN` and `EADDRINUSE`,
    /// which mean that it is still busy, the CPU is half removed: try again later, or revert with
    /// [`Xen::add_cpu`].
    pub fn remove_cpu(&self, pool: CpupoolId, cpu: u32) -> Result<(), Error> {
        let op = sysctl::XEN_SYSCTL_CPUPOOL_OP_RMCPU;
        retry(|| self.cpu_call("sysctl cpupool_op rmcpu", op, pool, cpu))
    }

    /// Makes a call that names a CPU.
    fn cpu_call(
        &self,
        operation: &'static str,
        op: u32,
        pool: CpupoolId,
        cpu: u32,
    ) -> Result<(), Error> {
        // For Xen this number means a CPU of its choice.
        if cpu == sysctl::XEN_SYSCTL_CPUPOOL_PAR_ANY {
            return Err(Error::Hypercall { operation, domid: None, errno: Errno::EINVAL });
        }
        let mut raw = CpupoolOp { op, cpupool_id: pool.0, cpu, ..CpupoolOp::default() };
        self.cpupool_call(operation, &mut raw)
    }

    /// Moves a domain to a cpupool that has CPUs. Resets the affinity of its vCPUs to all CPUs.
    ///
    /// This refuses dom0, as Xen does: dom0 stays in the first cpupool.
    ///
    /// # Errors
    /// `ENOENT` if the cpupool does not exist or has no CPUs, `ESRCH` if the domain does not exist,
    /// `EBUSY` if its kernel has pinned a vCPU for the moment.
    pub fn move_to_cpupool(&self, domid: DomId, pool: CpupoolId) -> Result<(), Error> {
        let name = "sysctl cpupool_op movedomain";
        guest_only(name, domid)?;
        let mut raw = CpupoolOp {
            op: sysctl::XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN,
            cpupool_id: pool.0,
            domid: u32::from(domid.0),
            ..CpupoolOp::default()
        };
        self.cpupool_call(name, &mut raw).map_err(|error| error.with_domain(domid))
    }

    /// Returns the cpupool that a domain is in; `None` if the domain does not exist. The domain may
    /// be dom0: nothing is changed.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn cpupool_of(&self, domid: DomId) -> Result<Option<CpupoolId>, Error> {
        Ok(self.raw_domain_info(domid)?.map(|info| CpupoolId(info.cpupool)))
    }

    /// Makes a call that does not use the map.
    fn cpupool_call(&self, name: &'static str, raw: &mut CpupoolOp) -> Result<(), Error> {
        let none = self.data(0)?;
        self.sysctl_with(name, sysctl::XEN_SYSCTL_CPUPOOL_OP, raw, &none)
    }

    /// Makes a call that returns a map.
    fn cpupool_map_call(&self, name: &'static str, raw: &mut CpupoolOp) -> Result<CpuMap, Error> {
        let data = self.data(self.cpu_map_length()?)?;
        self.sysctl_with(name, sysctl::XEN_SYSCTL_CPUPOOL_OP, raw, &data)?;
        Ok(data.cpu_map())
    }
}

/// Collects cpupools until there is no next one.
fn collect_pools(
    mut next: impl FnMut(CpupoolId) -> Result<Option<Cpupool>, Error>,
) -> Result<Vec<Cpupool>, Error> {
    let (mut pools, mut first) = (Vec::new(), Some(CpupoolId(0)));
    while let Some(wanted) = first {
        let found = next(wanted)?.filter(|pool| pool.id >= wanted);
        first = found.as_ref().and_then(|pool| pool.id.0.checked_add(1)).map(CpupoolId);
        pools.extend(found);
    }
    Ok(pools)
}

/// Repeats a removal while the CPU is busy.
fn retry(mut remove: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    let mut result = remove();
    for _ in 1..ATTEMPTS {
        match result {
            Err(Error::Hypercall { errno: Errno::EAGAIN | Errno::EADDRINUSE, .. }) => {}
            _ => break,
        }
        result = remove();
    }
    result
}

#[cfg(test)]
mod tests;
