// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos config`, and the JSON of a config, which `chaos create --dry-run` prints, too.

use std::path::Path;

use chaos::config::{
    Action, Affinity, Bootloader, DiskConfig, DiskFormat, DomainConfig, Extras, Limits, Shim,
    Store, TimerMode, TscMode, Undecided,
};
use chaos::guests::ShownVif;
use serde::Serialize;

use super::args::ConfigArgs;
use super::create::load;
use super::failure::Failure;
use super::output::Output;

/// Prints a config as it is understood.
pub(super) fn run(args: &ConfigArgs, output: &mut Output) -> Result<(), Failure> {
    let parsed = load(&args.config, &args.overrides, args.strict)?;
    for warning in &parsed.warnings {
        output.warning(warning);
    }
    output.json(&ConfigRow::new(&parsed.config));
    Ok(())
}

/// A config in JSON. `docs/config.md` describes it. What `chaos list --json` shows, too, has the same
/// name here.
#[derive(Debug, Serialize)]
pub(super) struct ConfigRow<'a> {
    name: &'a str,
    /// `null` if the bootloader finds it.
    kernel: Option<String>,
    ramdisk: Option<String>,
    memory_kib: u64,
    vcpus: u32,
    cmdline: &'a str,
    console: bool,
    /// Their `mac` is `null` if chaos chooses it.
    vifs: Vec<ShownVif>,
    disks: Vec<DiskRow<'a>>,
    store: Store,
    /// The keys that the config leaves to the kernel; here they have their defaults.
    undecided: Vec<&'static str>,
    on_poweroff: Action,
    on_reboot: Action,
    on_crash: Action,
    on_watchdog: Action,
    on_soft_reset: Action,
    uuid: Option<String>,
    max_memory_kib: u64,
    max_vcpus: u32,
    max_grant_frames: Option<u32>,
    max_maptrack_frames: Option<u32>,
    max_event_channels: Option<u32>,
    /// Their list for each vCPU; `null` if nothing is said.
    cpus: Vec<Option<String>>,
    cpus_soft: Vec<Option<String>>,
    cpu_weight: Option<u16>,
    cap: Option<u16>,
    pool: &'a Option<String>,
    tsc_mode: TscMode,
    timer_mode: TimerMode,
    rtc_timeoffset: i32,
    localtime: bool,
    driver_domain: bool,
    pvshim: Option<ShimRow<'a>>,
    bootloader: Option<BootloaderRow<'a>>,
}

/// `kernel`, `ramdisk` and `cmdline` are those of the config, which the program receives.
#[derive(Debug, Serialize)]
struct BootloaderRow<'a> {
    program: String,
    args: &'a [String],
    restrict: bool,
    user: Option<&'a str>,
    kernel: Option<&'a str>,
    ramdisk: Option<&'a str>,
    cmdline: &'a str,
}

#[derive(Debug, Serialize)]
struct ShimRow<'a> {
    path: Option<String>,
    cmdline: &'a str,
}

#[derive(Debug, Serialize)]
struct DiskRow<'a> {
    vdev: &'a str,
    vdev_number: u32,
    target: String,
    format: DiskFormat,
    read_only: bool,
}

impl<'a> ConfigRow<'a> {
    pub(super) fn new(config: &'a DomainConfig) -> Self {
        let DomainConfig {
            name,
            kernel,
            ramdisk,
            memory,
            vcpus,
            cmdline,
            console,
            vifs,
            disks,
            store,
            undecided,
            on_poweroff,
            on_reboot,
            on_crash,
            extras: _,
        } = config;
        let Extras {
            uuid,
            limits: Limits { memory: _, vcpus: _, grant_frames, maptrack_frames, event_channels },
            cpus,
            cpus_soft,
            weight,
            cap,
            pool,
            tsc_mode,
            timer_mode,
            time_offset,
            localtime,
            driver_domain,
            on_watchdog: _,
            on_soft_reset: _,
            shim,
            bootloader,
        } = config.extras();
        let lists = |affinity: &Affinity| {
            let vcpus = 0..config.max_vcpus() as usize;
            vcpus.map(|vcpu| affinity.of(vcpu).map(ToString::to_string)).collect()
        };
        let Undecided { store: is_store, console: is_console, kind: is_kind } = *undecided;
        let undecided = [("console", is_console), ("store", is_store), ("type", is_kind)];
        Self {
            name,
            kernel: Some(text(kernel)).filter(|kernel| !kernel.is_empty()),
            ramdisk: ramdisk.as_deref().map(text),
            memory_kib: memory.0,
            vcpus: *vcpus,
            cmdline,
            console: *console,
            vifs: (0..).zip(vifs).map(|(devid, vif)| ShownVif::new(devid, vif.clone())).collect(),
            disks: disks.iter().map(DiskRow::new).collect(),
            store: *store,
            undecided: undecided.into_iter().filter_map(|(key, is)| is.then_some(key)).collect(),
            on_poweroff: *on_poweroff,
            on_reboot: *on_reboot,
            on_crash: *on_crash,
            on_watchdog: config.on_watchdog(),
            on_soft_reset: config.on_soft_reset(),
            uuid: uuid.map(|uuid| uuid.to_string()),
            max_memory_kib: config.max_memory().0,
            max_vcpus: config.max_vcpus(),
            max_grant_frames: *grant_frames,
            max_maptrack_frames: *maptrack_frames,
            max_event_channels: *event_channels,
            cpus: lists(cpus),
            cpus_soft: lists(cpus_soft),
            cpu_weight: *weight,
            cap: *cap,
            pool,
            tsc_mode: *tsc_mode,
            timer_mode: *timer_mode,
            rtc_timeoffset: *time_offset,
            localtime: *localtime,
            driver_domain: *driver_domain,
            pvshim: shim
                .as_ref()
                .map(|Shim { path, cmdline }| ShimRow { path: path.as_deref().map(text), cmdline }),
            bootloader: bootloader.as_deref().map(BootloaderRow::new),
        }
    }
}

impl<'a> BootloaderRow<'a> {
    fn new(bootloader: &'a Bootloader) -> Self {
        let Bootloader { program, args, restrict, user, kernel, ramdisk, cmdline } = bootloader;
        Self {
            program: text(program),
            args,
            restrict: *restrict,
            user: user.as_deref(),
            kernel: kernel.as_deref(),
            ramdisk: ramdisk.as_deref(),
            cmdline,
        }
    }
}

impl<'a> DiskRow<'a> {
    fn new(disk: &'a DiskConfig) -> Self {
        let DiskConfig { target, format, vdev, id, read_only } = disk;
        Self {
            vdev,
            vdev_number: *id,
            target: text(target),
            format: *format,
            read_only: *read_only,
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
