// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos config`, and the JSON of a config, which `chaos create --dry-run` prints, too.

use std::path::Path;

use chaos::config::{Action, DiskConfig, DomainConfig, Store, Undecided};
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
    kernel: String,
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
}

#[derive(Debug, Serialize)]
struct DiskRow<'a> {
    vdev: &'a str,
    vdev_number: u32,
    target: String,
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
            undecided: Undecided { store: is_store_undecided, console: is_console_undecided },
            on_poweroff,
            on_reboot,
            on_crash,
        } = config;
        let undecided = [("console", *is_console_undecided), ("store", *is_store_undecided)];
        Self {
            name,
            kernel: text(kernel),
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
        }
    }
}

impl<'a> DiskRow<'a> {
    fn new(disk: &'a DiskConfig) -> Self {
        let DiskConfig { target, vdev, id, read_only } = disk;
        Self { vdev, vdev_number: *id, target: text(target), read_only: *read_only }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
