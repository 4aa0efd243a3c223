// SPDX-License-Identifier: GPL-3.0-or-later
//! The form of extras in messages to chaosd and in records. What is received is checked.
//!
//! This is a file format, too: to add, move or remove a field makes the records of running guests
//! unreadable. A new version of the record gets a type of its own.

use bincode::{Decode, Encode};
use xen::units::{DomainHandle, KiB};

use super::{Affinity, Bootloader, Extras, Limits, Shim, TimerMode, TscMode};
use crate::config::action::PlainAction;
use crate::config::{Action, DomainConfig, EncodedError};
use crate::cpu_list::CpuListError;

/// [`Extras`] in the form of a message or a record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PlainExtras {
    uuid: Option<[u8; 16]>,
    memory_kib: Option<u64>,
    vcpus: Option<u32>,
    grant_frames: Option<u32>,
    maptrack_frames: Option<u32>,
    event_channels: Option<u32>,
    cpus: PlainAffinity,
    cpus_soft: PlainAffinity,
    weight: Option<u16>,
    cap: Option<u16>,
    pool: Option<String>,
    tsc_mode: PlainTscMode,
    timer_mode: PlainTimerMode,
    time_offset: i32,
    localtime: bool,
    driver_domain: bool,
    on_watchdog: Option<PlainAction>,
    on_soft_reset: Option<PlainAction>,
    shim: Option<PlainShim>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
enum PlainAffinity {
    Any,
    All(String),
    Each(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
enum PlainTscMode {
    Default,
    AlwaysEmulate,
    Native,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
enum PlainTimerMode {
    DelayForMissedTicks,
    NoDelayForMissedTicks,
    NoMissedTicksPending,
    OneMissedTickPending,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct PlainShim {
    path: Option<String>,
    cmdline: String,
}

/// [`Bootloader`] in the form of a message or a record. It came later than the other extras.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PlainBootloader {
    program: String,
    args: Vec<String>,
    restrict: bool,
    user: Option<String>,
    kernel: Option<String>,
    ramdisk: Option<String>,
    cmdline: String,
}

impl PlainExtras {
    /// Returns the extras of a config, if it has any, without its bootloader.
    pub(crate) fn of(config: &DomainConfig) -> Option<Box<Self>> {
        config.extras.as_deref().map(|extras| Box::new(extras.into()))
    }
}

impl PlainBootloader {
    /// Returns the bootloader of a config, if it has one.
    pub(crate) fn of(config: &DomainConfig) -> Option<Box<Self>> {
        let bootloader = config.extras().bootloader.as_deref()?;
        let Bootloader { program, args, restrict, user, kernel, ramdisk, cmdline } =
            bootloader.clone();
        let program = program.to_string_lossy().into_owned();
        Some(Box::new(Self { program, args, restrict, user, kernel, ramdisk, cmdline }))
    }
}

impl From<PlainBootloader> for Bootloader {
    fn from(plain: PlainBootloader) -> Self {
        let PlainBootloader { program, args, restrict, user, kernel, ramdisk, cmdline } = plain;
        Self { program: program.into(), args, restrict, user, kernel, ramdisk, cmdline }
    }
}

impl Extras {
    /// Returns the extras that were received or stored, if there are any.
    ///
    /// # Errors
    /// A list of CPUs is wrong.
    pub(crate) fn of(
        plain: Option<Box<PlainExtras>>,
        bootloader: Option<Box<PlainBootloader>>,
    ) -> Result<Option<Box<Self>>, EncodedError> {
        let mut extras = plain.map(|plain| Self::try_from(*plain).map(Box::new)).transpose()?;
        if let Some(bootloader) = bootloader {
            extras.get_or_insert_default().bootloader = Some(Box::new((*bootloader).into()));
        }
        Ok(extras)
    }
}

impl From<&Extras> for PlainExtras {
    fn from(extras: &Extras) -> Self {
        let Limits { memory, vcpus, grant_frames, maptrack_frames, event_channels } = extras.limits;
        Self {
            uuid: extras.uuid.map(|handle| handle.0),
            memory_kib: memory.map(|memory| memory.0),
            vcpus,
            grant_frames,
            maptrack_frames,
            event_channels,
            cpus: (&extras.cpus).into(),
            cpus_soft: (&extras.cpus_soft).into(),
            weight: extras.weight,
            cap: extras.cap,
            pool: extras.pool.clone(),
            tsc_mode: match extras.tsc_mode {
                TscMode::Default => PlainTscMode::Default,
                TscMode::AlwaysEmulate => PlainTscMode::AlwaysEmulate,
                TscMode::Native => PlainTscMode::Native,
            },
            timer_mode: match extras.timer_mode {
                TimerMode::DelayForMissedTicks => PlainTimerMode::DelayForMissedTicks,
                TimerMode::NoDelayForMissedTicks => PlainTimerMode::NoDelayForMissedTicks,
                TimerMode::NoMissedTicksPending => PlainTimerMode::NoMissedTicksPending,
                TimerMode::OneMissedTickPending => PlainTimerMode::OneMissedTickPending,
            },
            time_offset: extras.time_offset,
            localtime: extras.localtime,
            driver_domain: extras.driver_domain,
            on_watchdog: extras.on_watchdog.map(PlainAction::from),
            on_soft_reset: extras.on_soft_reset.map(PlainAction::from),
            shim: extras.shim.as_ref().map(|Shim { path, cmdline }| PlainShim {
                path: path.as_ref().map(|path| path.to_string_lossy().into_owned()),
                cmdline: cmdline.clone(),
            }),
        }
    }
}

/// Lists of CPUs are parsed; numbers are checked with the rest of the config.
impl TryFrom<PlainExtras> for Extras {
    type Error = EncodedError;

    fn try_from(plain: PlainExtras) -> Result<Self, EncodedError> {
        let affinity = |key, plain: PlainAffinity| {
            plain.parse().map_err(|error| EncodedError::CpuList { key, error })
        };
        Ok(Self {
            uuid: plain.uuid.map(DomainHandle),
            limits: Limits {
                memory: plain.memory_kib.map(KiB),
                vcpus: plain.vcpus,
                grant_frames: plain.grant_frames,
                maptrack_frames: plain.maptrack_frames,
                event_channels: plain.event_channels,
            },
            cpus: affinity("cpus", plain.cpus)?,
            cpus_soft: affinity("cpus_soft", plain.cpus_soft)?,
            weight: plain.weight,
            cap: plain.cap,
            pool: plain.pool,
            tsc_mode: match plain.tsc_mode {
                PlainTscMode::Default => TscMode::Default,
                PlainTscMode::AlwaysEmulate => TscMode::AlwaysEmulate,
                PlainTscMode::Native => TscMode::Native,
            },
            timer_mode: match plain.timer_mode {
                PlainTimerMode::DelayForMissedTicks => TimerMode::DelayForMissedTicks,
                PlainTimerMode::NoDelayForMissedTicks => TimerMode::NoDelayForMissedTicks,
                PlainTimerMode::NoMissedTicksPending => TimerMode::NoMissedTicksPending,
                PlainTimerMode::OneMissedTickPending => TimerMode::OneMissedTickPending,
            },
            time_offset: plain.time_offset,
            localtime: plain.localtime,
            driver_domain: plain.driver_domain,
            on_watchdog: plain.on_watchdog.map(Action::from),
            on_soft_reset: plain.on_soft_reset.map(Action::from),
            shim: plain
                .shim
                .map(|PlainShim { path, cmdline }| Shim { path: path.map(Into::into), cmdline }),
            bootloader: None,
        })
    }
}

impl From<&Affinity> for PlainAffinity {
    fn from(affinity: &Affinity) -> Self {
        match affinity {
            Affinity::Any => Self::Any,
            Affinity::All(list) => Self::All(list.to_string()),
            Affinity::Each(lists) => Self::Each(lists.iter().map(ToString::to_string).collect()),
        }
    }
}

impl PlainAffinity {
    fn parse(self) -> Result<Affinity, CpuListError> {
        Ok(match self {
            Self::Any => Affinity::Any,
            Self::All(list) => Affinity::All(list.parse()?),
            Self::Each(lists) => {
                Affinity::Each(lists.iter().map(|list| list.parse()).collect::<Result<_, _>>()?)
            }
        })
    }
}
