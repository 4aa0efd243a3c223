// SPDX-License-Identifier: GPL-3.0-or-later
//! What only few configs say: where the guest's vCPUs run, limits, clocks, and the like.

mod bootloader;
mod keys;
mod plain;

use std::path::{Path, PathBuf};

use serde::Serialize;
use xen::units::{DomainHandle, KiB};

use super::action::Action;
use super::domain::{DomainConfig, Undecided};
use super::store::Store;
use crate::cpu_list::CpuList;

pub use bootloader::Bootloader;
pub(crate) use bootloader::OPEN_FILES;
pub(super) use keys::build;
pub use plain::{PlainBootloader, PlainExtras};

/// What only few configs say. The default is what the others mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// `uuid=`: its handle in Xen.
    pub uuid: Option<DomainHandle>,
    /// What it may have more of than it starts with, or than usual.
    pub limits: Limits,
    /// `cpus=`: the CPUs that its vCPUs run on.
    pub cpus: Affinity,
    /// `cpus_soft=`: those of them that they run on if these are free.
    pub cpus_soft: Affinity,
    /// `cpu_weight=`, 1 to 65535.
    pub weight: Option<u16>,
    /// `cap=`, in percent of one CPU; 0 means no limit.
    pub cap: Option<u16>,
    /// `pool=`: the name or the number of its cpupool.
    pub pool: Option<String>,
    /// `tsc_mode=`.
    pub tsc_mode: TscMode,
    /// `timer_mode=`.
    pub timer_mode: TimerMode,
    /// `rtc_timeoffset=`: how far the time that it reads is ahead of UTC, in seconds.
    pub time_offset: i32,
    /// `localtime=1`: whether the offset of dom0's time zone is added.
    pub localtime: bool,
    /// `driver_domain=1`: whether it gets the nodes in XenStore that a driver domain needs.
    pub driver_domain: bool,
    /// `on_watchdog=`; `None` means as `on_crash=`, and a config that says nothing means `Destroy`.
    pub on_watchdog: Option<Action>,
    /// `on_soft_reset=`; `None` means as `on_reboot=`.
    pub on_soft_reset: Option<Action>,
    /// The PV shim that runs its kernel, if that is a PV kernel.
    pub shim: Option<Shim>,
    /// The program that finds its kernel on its first disk.
    pub bootloader: Option<Box<Bootloader>>,
}

/// Limits of a domain that are set when it is created. `None` means the usual one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// `maxmem=`: the most memory that it may be given while it runs, more than it starts with.
    pub memory: Option<KiB>,
    /// `maxvcpus=`: the most vCPUs that it may use, more than it starts with.
    pub vcpus: Option<u32>,
    /// `max_grant_frames=`.
    pub grant_frames: Option<u32>,
    /// `max_maptrack_frames=`.
    pub maptrack_frames: Option<u32>,
    /// `max_event_channels=`.
    pub event_channels: Option<u32>,
}

/// The CPUs that vCPUs run on. The lists are for any machine: what one does not have is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Nothing is said.
    #[default]
    Any,
    /// All vCPUs have one list.
    All(CpuList),
    /// Each vCPU has a list of its own; further ones run on any CPU.
    Each(Vec<CpuList>),
}

impl Affinity {
    /// Returns the list of a vCPU, if it has one.
    #[must_use]
    pub fn of(&self, vcpu: usize) -> Option<&CpuList> {
        match self {
            Self::Any => None,
            Self::All(list) => Some(list),
            Self::Each(lists) => lists.get(vcpu),
        }
    }
}

/// How the guest reads the time stamp counter (`XEN_CPUID_TSC_MODE_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TscMode {
    /// From the CPU if that is safe, emulated otherwise.
    #[default]
    Default,
    /// Emulated.
    AlwaysEmulate,
    /// From the CPU.
    Native,
}

/// The time of emulated timers while a vCPU does not run (`HVMPTM_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerMode {
    /// It stands still.
    DelayForMissedTicks,
    /// It goes on, and missed ticks are delivered.
    #[default]
    NoDelayForMissedTicks,
    /// It goes on, and missed ticks are dropped.
    NoMissedTicksPending,
    /// It goes on, and one of the missed ticks is delivered.
    OneMissedTickPending,
}

/// How the PV shim is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shim {
    /// `pvshim_path=`; `None` means the one of the Xen that runs.
    pub path: Option<PathBuf>,
    /// Its command line: `pvshim_cmdline=` and `pvshim_extra=`.
    pub cmdline: String,
}

/// The command line of the shim unless `pvshim_cmdline=` is set (`PVSHIM_CMDLINE` of libxl).
pub(super) const SHIM_CMDLINE: &str = "pv-shim console=xen,pv";

/// The extras of a config that has none.
static NONE: Extras = Extras {
    uuid: None,
    limits: Limits {
        memory: None,
        vcpus: None,
        grant_frames: None,
        maptrack_frames: None,
        event_channels: None,
    },
    cpus: Affinity::Any,
    cpus_soft: Affinity::Any,
    weight: None,
    cap: None,
    pool: None,
    tsc_mode: TscMode::Default,
    timer_mode: TimerMode::NoDelayForMissedTicks,
    time_offset: 0,
    localtime: false,
    driver_domain: false,
    on_watchdog: None,
    on_soft_reset: None,
    shim: None,
    bootloader: None,
};

impl DomainConfig {
    /// Returns what only few configs say.
    #[must_use]
    pub fn extras(&self) -> &Extras {
        self.extras.as_deref().unwrap_or(&NONE)
    }

    /// Returns the most memory that the guest may be given: `maxmem=`, or `memory=`.
    #[must_use]
    pub fn max_memory(&self) -> KiB {
        self.extras().limits.memory.unwrap_or(self.memory)
    }

    /// Returns the most vCPUs that the guest may use: `maxvcpus=`, or `vcpus=`.
    #[must_use]
    pub fn max_vcpus(&self) -> u32 {
        self.extras().limits.vcpus.unwrap_or(self.vcpus)
    }

    /// Returns the kernel that Xen starts: the PV shim, or `kernel=`. The path of the shim is known
    /// once [`crate::image::shim::find`] has set it.
    #[must_use]
    pub fn boot_kernel(&self) -> &Path {
        let shim = self.extras().shim.as_ref().and_then(|shim| shim.path.as_deref());
        shim.unwrap_or(&self.kernel)
    }

    /// Returns the kernel that the PV shim starts, if the guest has one.
    #[must_use]
    pub fn pv_kernel(&self) -> Option<&Path> {
        self.extras().shim.as_ref().map(|_| self.kernel.as_path())
    }

    /// Returns the command line of the kernel that Xen starts.
    #[must_use]
    pub fn boot_cmdline(&self) -> &str {
        self.extras().shim.as_ref().map_or(&self.cmdline, |shim| &shim.cmdline)
    }

    /// Has the kernel started as a PV kernel, by the PV shim.
    pub fn use_shim(&mut self) {
        let extras = self.extras.get_or_insert_default();
        extras.shim.get_or_insert_with(|| Shim { path: None, cmdline: SHIM_CMDLINE.to_owned() });
        (self.store, self.undecided) = (Store::XenStore, Undecided::default());
    }

    /// Returns the action for an expired watchdog: `on_watchdog=`, or `on_crash=`.
    #[must_use]
    pub fn on_watchdog(&self) -> Action {
        self.extras().on_watchdog.unwrap_or(self.on_crash)
    }

    /// Returns the action for a soft reset: `on_soft_reset=`, or `on_reboot=`.
    #[must_use]
    pub fn on_soft_reset(&self) -> Action {
        self.extras().on_soft_reset.unwrap_or(self.on_reboot)
    }
}

impl Extras {
    /// Returns the first key that only root may use: it takes resources of the host that no limit of
    /// users counts, or names a file that the daemon opens.
    #[must_use]
    pub fn key_of_root(&self) -> Option<&'static str> {
        let Self {
            uuid,
            limits: Limits { memory, vcpus, grant_frames, maptrack_frames, event_channels },
            cpus,
            cpus_soft,
            weight,
            cap,
            pool,
            tsc_mode: _,
            timer_mode: _,
            time_offset: _,
            localtime: _,
            driver_domain,
            on_watchdog: _,
            on_soft_reset: _,
            shim,
            bootloader,
        } = self;
        let keys = [
            (uuid.is_some(), "uuid"),
            (memory.is_some(), "maxmem"),
            (vcpus.is_some(), "maxvcpus"),
            (grant_frames.is_some(), "max_grant_frames"),
            (maptrack_frames.is_some(), "max_maptrack_frames"),
            (event_channels.is_some(), "max_event_channels"),
            (*cpus != Affinity::Any, "cpus"),
            (*cpus_soft != Affinity::Any, "cpus_soft"),
            (weight.is_some(), "cpu_weight"),
            (cap.is_some(), "cap"),
            (pool.is_some(), "pool"),
            (*driver_domain, "driver_domain"),
            (shim.is_some(), "pvshim"),
            (bootloader.is_some(), "bootloader"),
        ];
        keys.into_iter().find_map(|(is_set, key)| is_set.then_some(key))
    }
}

#[cfg(test)]
mod tests;
