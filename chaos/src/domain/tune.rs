// SPDX-License-Identifier: GPL-3.0-or-later
//! What few configs ask for and any prepared domain can be given before it runs: its cpupool, where
//! its vCPUs run, its share of the CPUs, and its clocks.

use thiserror::Error;
use xen::sched::CpuShare;
use xen::units::DomId;
use xen::vcpu::Affinity as Kind;
use xen::{Xen, hvm};
use xen_abi::hvm as abi;

use crate::clients::xenstored::{Link, StoreError};
use crate::config::{Affinity, DomainConfig, TimerMode, TscMode};
use crate::cpu_list::{CpuList, Machine};
use crate::cpupools::{self, NamedCpupool};
use crate::local_time;

/// Why a domain cannot be given what its config asks for.
#[derive(Debug, Error)]
pub enum TuneError {
    /// There is no such cpupool.
    #[error(
        "pool = {name:?}: there is no such cpupool; must be one of {}",
        known.join(", ")
    )]
    NoCpupool {
        /// Its name or number.
        name: String,
        /// The names of those that there are.
        known: Vec<String>,
    },
    /// The names of the cpupools cannot be read.
    #[error("pool = {name:?}: cannot read the names of the cpupools")]
    CpupoolNames {
        /// The name of the wanted one.
        name: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The host has none of the CPUs.
    #[error("{key} = \"{list}\": this host has none of these CPUs; its CPUs are 0 to {last}")]
    NoCpus {
        /// The key.
        key: &'static str,
        /// Its value for one vCPU.
        list: CpuList,
        /// The highest number of a CPU.
        last: u32,
    },
    /// Xen does not run a vCPU on these CPUs.
    #[error("{key} = \"{list}\": cannot pin vCPU {vcpu}: none of these CPUs is in its cpupool")]
    NotInCpupool {
        /// The key.
        key: &'static str,
        /// Its value for this vCPU.
        list: CpuList,
        /// The vCPU.
        vcpu: u32,
    },
    /// The scheduler knows no shares.
    #[error("{key}: {reason}; remove {key}")]
    NoShare {
        /// The key.
        key: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// The time zone of dom0 is not known.
    #[error("localtime: the time zone of dom0 is not known; write rtc_timeoffset instead")]
    NoTimeZone,
    /// Xen refuses.
    #[error("{key}: cannot be carried out")]
    Xen {
        /// The key.
        key: &'static str,
        /// Why.
        #[source]
        source: xen::Error,
    },
}

impl TuneError {
    /// Returns whether another config would help.
    #[must_use]
    pub fn is_wrong_input(&self) -> bool {
        !matches!(self, Self::CpupoolNames { .. } | Self::NoTimeZone | Self::Xen { .. })
    }
}

/// Applies what a config asks for to a domain that has not run yet. A config without extras costs
/// nothing.
///
/// # Errors
/// The host does not have what is asked for, or Xen refuses. Destroy the domain then.
#[inline]
pub fn tune(
    xen: &Xen,
    xenstored: &Link,
    domid: DomId,
    config: &DomainConfig,
) -> Result<(), TuneError> {
    match config.extras {
        None => Ok(()),
        Some(_) => apply(xen, xenstored, domid, config),
    }
}

#[cold]
fn apply(
    xen: &Xen,
    xenstored: &Link,
    domid: DomId,
    config: &DomainConfig,
) -> Result<(), TuneError> {
    let extras = config.extras();
    // First: it makes Xen forget which CPUs the vCPUs run on, and decides which scheduler they have.
    if let Some(name) = &extras.pool {
        move_to_cpupool(xen, xenstored, domid, name)?;
    }
    if extras.cpus != Affinity::Any || extras.cpus_soft != Affinity::Any {
        let machine = Machine::of(xen).map_err(of("cpus"))?;
        for vcpu in 0..config.max_vcpus() {
            pin(xen, &machine, domid, vcpu, ("cpus", &extras.cpus, Kind::Hard))?;
            pin(xen, &machine, domid, vcpu, ("cpus_soft", &extras.cpus_soft, Kind::Soft))?;
        }
    }
    if extras.weight.is_some() || extras.cap.is_some() {
        share(xen, domid, extras.weight, extras.cap)?;
    }
    let tsc_mode = match extras.tsc_mode {
        TscMode::Default => None,
        TscMode::AlwaysEmulate => Some(xen::domain::TscMode::AlwaysEmulate),
        TscMode::Native => Some(xen::domain::TscMode::NeverEmulate),
    };
    if let Some(mode) = tsc_mode {
        xen.set_tsc_mode(domid, mode).map_err(of("tsc_mode"))?;
    }
    if extras.timer_mode != TimerMode::default() {
        let mode = match extras.timer_mode {
            TimerMode::DelayForMissedTicks => abi::HVMPTM_DELAY_FOR_MISSED_TICKS,
            TimerMode::NoDelayForMissedTicks => abi::HVMPTM_NO_DELAY_FOR_MISSED_TICKS,
            TimerMode::NoMissedTicksPending => abi::HVMPTM_NO_MISSED_TICKS_PENDING,
            TimerMode::OneMissedTickPending => abi::HVMPTM_ONE_MISSED_TICK_PENDING,
        };
        xen.set_hvm_param(domid, hvm::Param::TimerMode, mode.into()).map_err(of("timer_mode"))?;
    }
    let mut offset = i64::from(extras.time_offset);
    if extras.localtime {
        offset += local_time::offset().ok_or(TuneError::NoTimeZone)?;
    }
    if offset != 0 {
        xen.set_time_offset(domid, offset).map_err(of("rtc_timeoffset"))?;
    }
    Ok(())
}

fn of(key: &'static str) -> impl Fn(xen::Error) -> TuneError {
    move |source| TuneError::Xen { key, source }
}

fn move_to_cpupool(
    xen: &Xen,
    xenstored: &Link,
    domid: DomId,
    wanted: &str,
) -> Result<(), TuneError> {
    let name = || wanted.to_owned();
    let pools = xen.cpupools().map_err(of("pool"))?;
    let named = cpupools::with_names(xenstored, pools)
        .map_err(|source| TuneError::CpupoolNames { name: name(), source })?;
    let Some(NamedCpupool { pool, .. }) = cpupools::find(&named, wanted) else {
        let known = named.into_iter().map(|named| named.name).collect();
        return Err(TuneError::NoCpupool { name: name(), known });
    };
    xen.move_to_cpupool(domid, pool.id).map_err(of("pool"))
}

fn pin(
    xen: &Xen,
    machine: &Machine,
    domid: DomId,
    vcpu: u32,
    (key, affinity, kind): (&'static str, &Affinity, Kind),
) -> Result<(), TuneError> {
    let index = usize::try_from(vcpu).unwrap_or(usize::MAX);
    let Some(list) = affinity.of(index).filter(|list| !list.is_empty()) else { return Ok(()) };
    let cpus = machine.present(list);
    if cpus.is_empty() {
        return Err(TuneError::NoCpus { key, list: list.clone(), last: machine.last() });
    }
    match xen.set_vcpu_affinity(domid, vcpu, kind, &cpus) {
        Err(error) if error.errno() == Some(nix::errno::Errno::EINVAL) => {
            Err(TuneError::NotInCpupool { key, list: list.clone(), vcpu })
        }
        result => result.map(drop).map_err(of(key)),
    }
}

fn share(xen: &Xen, domid: DomId, weight: Option<u16>, cap: Option<u16>) -> Result<(), TuneError> {
    let key = if weight.is_some() { "cpu_weight" } else { "cap" };
    let failed = |source| match source {
        xen::Error::Refused { reason, .. } => TuneError::NoShare { key, reason },
        source => TuneError::Xen { key, source },
    };
    let scheduler = match xen.cpupool_of(domid).map_err(of(key))? {
        Some(id) => xen.cpupool(id).map_err(of(key))?.map(|pool| pool.scheduler),
        None => None,
    };
    let scheduler = match scheduler {
        Some(scheduler) => scheduler,
        None => xen.scheduler().map_err(of(key))?,
    };
    let now = xen.cpu_share(domid, scheduler).map_err(failed)?;
    let share = CpuShare { weight: weight.unwrap_or(now.weight), cap: cap.unwrap_or(now.cap) };
    xen.set_cpu_share(domid, scheduler, share).map_err(failed)
}
