// SPDX-License-Identifier: GPL-3.0-or-later
//! Builds a [`DomainConfig`] from the settings of a config.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use bincode::{Decode, Encode};
use xen::units::KiB;

use super::action::Action;
use super::devices;
use super::disk::DiskConfig;
use super::error::Fault;
use super::extras::{self, Extras};
use super::key_table;
use super::keys::{Accepted, ConfigKey, KeySupport};
use super::memory::parse_memory;
use super::name::check_name;
use super::number::{NumberError, parse_number};
use super::problem::ConfigProblem;
use super::reader::Reader;
use super::source::SourceSpan;
use super::store::Store;
use super::vif::VifConfig;
use super::warning::WarningKind;

/// Largest number of vCPUs of a guest: Xen's limit for PVH guests (`HVM_MAX_VCPUS`).
pub const MAX_VCPUS: u32 = *VCPUS.end();

/// Valid values of `vcpus=`.
pub(super) const VCPUS: RangeInclusive<u32> = 1..=128;

/// Longest kernel command line in bytes, without the terminating zero: as much as fits in the boot
/// page beside the other boot structures.
pub const MAX_COMMAND_LINE: usize = 3890;

/// Memory of a guest without `memory=`, as in xl.
pub const DEFAULT_MEMORY: KiB = KiB(32 << 10);

/// A guest as its config describes it, including defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainConfig {
    /// Its name, as [`super::check_name`] accepts it.
    pub name: String,
    /// The kernel, as the config names it: relative to the working directory of the command. Empty if a
    /// bootloader is still to find it.
    pub kernel: PathBuf,
    /// The ramdisk, likewise.
    pub ramdisk: Option<PathBuf>,
    /// Its memory: whole pages, at least 1 MiB.
    pub memory: KiB,
    /// The number of its vCPUs, 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// The kernel's command line, from `cmdline=`, or from `root=` and `extra=`.
    pub cmdline: String,
    /// Whether it has a console.
    pub console: bool,
    /// Its network interfaces, at most [`noxs::MAX_VIFS`].
    pub vifs: Vec<VifConfig>,
    /// Its disks. With the console and the vifs at most [`noxs::MAX_DEVICES`].
    pub disks: Vec<DiskConfig>,
    /// How it discovers its devices, and what serves them.
    pub store: Store,
    /// Which of these the config leaves open.
    pub undecided: Undecided,
    /// What happens when it powers off.
    pub on_poweroff: Action,
    /// What happens when it reboots.
    pub on_reboot: Action,
    /// What happens when it crashes.
    pub on_crash: Action,
    /// What only few configs say; `None` if this one says nothing of the kind.
    pub extras: Option<Box<Extras>>,
}

/// What a config leaves open, so that the kernel decides it ([`crate::guests::decide`]). A record
/// leaves nothing open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Undecided {
    /// `store=` is missing; [`DomainConfig::store`] is the default, or what a script needs.
    pub store: bool,
    /// `console=` is missing; [`DomainConfig::console`] is the default.
    pub console: bool,
    /// `type=` is missing: the kernel starts as PVH if it can, and as PV otherwise.
    pub kind: bool,
}

/// Returns the guest that the settings describe. What is wrong with them is added to the reader's
/// faults, and replaced by the default.
pub(super) fn build(reader: &mut Reader<'_>) -> DomainConfig {
    check_keys(reader);
    let kind = check_type(reader);
    let (is_pv, is_kind_undecided) = (kind == Some(Kind::Pv), kind.is_none());
    let memory = memory(reader);
    let vcpus = reader.number("vcpus", VCPUS).map_or(1, |(vcpus, _)| vcpus);
    let name = name(reader);
    let asked_console = console(reader);
    let console = asked_console.unwrap_or(true);
    let on_crash = reader.action("on_crash", Action::Destroy);
    let mut extras = extras::build(reader, memory, vcpus, is_pv, on_crash);
    let bootloader = extras.as_mut().and_then(|extras| extras.bootloader.as_deref_mut());
    let (kernel, ramdisk, cmdline) = match bootloader {
        Some(bootloader) => {
            // The files are paths on the disk.
            bootloader.cmdline = cmdline(reader);
            (PathBuf::new(), None, bootloader.cmdline.clone())
        }
        None => (kernel(reader), reader.path("ramdisk"), cmdline(reader)),
    };
    let has_scripts = devices::have_script(reader);
    let store = store(reader, extras.as_deref(), has_scripts);
    // A kernel that reads only the device page is refused later.
    let of_script = has_scripts && needs_xenstore(extras.as_deref()).is_none();
    let is_store_open = store == Store::default() || of_script;
    let vifs = devices::vifs(reader, store);
    let disks = devices::disks(reader, usize::from(console) + vifs.len());
    if disks.is_empty() && extras.as_deref().is_some_and(|extras| extras.bootloader.is_some()) {
        refuse_without_disk(reader);
    }
    DomainConfig {
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
        undecided: Undecided {
            store: reader.find("store").is_none() && is_store_open,
            console: asked_console.is_none(),
            kind: is_kind_undecided,
        },
        on_poweroff: reader.action("on_poweroff", Action::Destroy),
        on_reboot: reader.action("on_reboot", Action::Restart),
        on_crash,
        extras,
    }
}

/// Refuses keys that are not supported, and warns about those without effect and about unknown ones.
fn check_keys(reader: &mut Reader<'_>) {
    let mut without_effect = Vec::new();
    for setting in reader.settings {
        let problem = match key_table::find(&setting.key) {
            Some(ConfigKey { name: key, support }) => match support {
                KeySupport::Supported | KeySupport::Own | KeySupport::Granted => continue,
                KeySupport::Ignored => {
                    // One that asks for nothing has its effect.
                    if !Accepted::Nothing.contains(&setting.value) {
                        without_effect.push((setting.key_span, key));
                    }
                    continue;
                }
                KeySupport::Limited(accepted, _) if accepted.contains(&setting.value) => continue,
                KeySupport::Limited(_, why) => ConfigProblem::KeyNotSupported { key, why },
            },
            None => {
                let key = setting.key.clone();
                let nearest = key_table::nearest_key(&key);
                if !reader.strict {
                    let problem = ConfigProblem::UnknownKey { key: key.clone(), nearest };
                    reader.faults.suspect(Fault { span: setting.key_span, problem });
                    reader.warn(setting.key_span, WarningKind::UnknownKey { key, nearest });
                    continue;
                }
                ConfigProblem::UnknownKey { key, nearest }
            }
        };
        reader.faults.add(Fault { span: setting.key_span, problem });
    }
    without_effect.sort_by_key(|(span, _)| (span.source, span.start));
    if let Some((span, _)) = without_effect.first().copied() {
        let keys = without_effect.into_iter().map(|(_, key)| key).collect();
        reader.warn(span, WarningKind::NoEffect { keys });
    }
}

/// Returns `console=`. The key is one of chaos: what is not a number is written for another program, and
/// ignored as in xl.
fn console(reader: &mut Reader<'_>) -> Option<bool> {
    let setting = reader.find("console")?;
    if reader.peek("console").is_none_or(|text| parse_number(text) == Err(NumberError::Form)) {
        reader.warn(setting.value.span, WarningKind::Console);
        return None;
    }
    reader.number("console", 0..=1).map(|(console, _)| console == 1)
}

/// Returns `kernel=`, which must be there unless a bootloader is.
fn kernel(reader: &mut Reader<'_>) -> PathBuf {
    if reader.find("kernel").is_none() && !reader.faults.is_unknown("bootloader") {
        reader.faults.add_missing("kernel", "/boot/vmlinuz");
    }
    reader.path("kernel").unwrap_or_default()
}

/// Refuses a bootloader without a disk to look at.
fn refuse_without_disk(reader: &mut Reader<'_>) {
    if let Some(setting) = reader.find("bootloader")
        && !reader.faults.is_unknown("disk")
    {
        let span = setting.value.span;
        reader.refuse("bootloader", span, ConfigProblem::NoBootDisk);
    }
}

/// Returns `memory=`; without it `maxmem=`, as in xl.
fn memory(reader: &mut Reader<'_>) -> KiB {
    // What is wrong with maxmem= is a fault where that key itself is read.
    let maxmem = || parse_memory(reader.peek("maxmem")?).ok();
    match reader.find("memory") {
        None => maxmem().unwrap_or(DEFAULT_MEMORY),
        Some(_) => reader.memory("memory").map_or(DEFAULT_MEMORY, |(memory, _)| memory),
    }
}

/// What a kernel is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pvh,
    Pv,
}

/// Checks `type=`, and `builder=`, its name before Xen 4.10. Returns what the kernel is, if the config
/// says it.
fn check_type(reader: &mut Reader<'_>) -> Option<Kind> {
    let builder = reader.text("builder");
    let kind = reader.text("type");
    match builder {
        Some(("generic" | "linux", value)) if kind.is_some() => {
            reader.warn(value.span, WarningKind::Builder);
        }
        Some(("generic" | "linux", _)) | None => {}
        Some((text, value)) => {
            reader.refuse("builder", value.span, guest_type("builder", text));
        }
    }
    match kind {
        Some(("pvh", _)) => return Some(Kind::Pvh),
        Some(("pv", _)) => return Some(Kind::Pv),
        Some((text, value)) => reader.refuse("type", value.span, guest_type("type", text)),
        None if reader.faults.is_unknown("type") || reader.faults.is_unknown("builder") => {}
        None => {
            let beginning = SourceSpan { source: 0, start: 0, end: 0 };
            let span = builder.map_or(beginning, |(_, value)| value.span);
            reader.warn(span, WarningKind::NoType);
        }
    }
    None
}

fn guest_type(key: &'static str, text: &str) -> ConfigProblem {
    let value = text.to_owned();
    match text {
        "hvm" => ConfigProblem::ValueNotSupported {
            key,
            value,
            why: "it needs a device model; a kernel with a PVH entry boots with type = \"pvh\"",
        },
        _ => ConfigProblem::GuestType { key, text: value },
    }
}

/// Returns `store=`. Some extras and scripts need XenStore, and choose it. A script beside
/// `store="noxs"` is a fault of its vif.
fn store(reader: &mut Reader<'_>, extras: Option<&Extras>, has_scripts: bool) -> Store {
    let needs_xenstore = needs_xenstore(extras);
    let unset = match needs_xenstore.is_some() || has_scripts {
        true => Store::XenStore,
        false => Store::default(),
    };
    let Some((text, value)) = reader.text("store") else { return unset };
    let store = text.parse().map_err(|()| ConfigProblem::Store { text: text.to_owned() });
    let Some(store) = reader.value("store", value, store) else { return unset };
    if let Some(what) = needs_xenstore.filter(|_| store == Store::Noxs) {
        reader.refuse("store", value.span, ConfigProblem::NeedsXenStore { what });
    }
    store
}

/// Returns what of the extras needs XenStore, whatever the kernel is.
fn needs_xenstore(extras: Option<&Extras>) -> Option<&'static str> {
    match extras? {
        Extras { shim: Some(_), .. } => Some("a PV kernel"),
        Extras { driver_domain: true, .. } => Some("a driver domain"),
        _ => None,
    }
}

impl DomainConfig {
    /// Returns whether a vif has a script, which the process that creates the guest runs.
    #[must_use]
    pub fn has_scripts(&self) -> bool {
        self.vifs.iter().any(|vif| vif.script.is_some())
    }

    /// Returns whether programs of dom0 must work for the guest when it is created or removed, which takes
    /// long: scripts of vifs, or qemu-nbd for disk images.
    #[must_use]
    pub fn needs_programs(&self) -> bool {
        self.has_scripts() || self.has_images()
    }

    /// Returns whether the guest is in XenStore mode only because of a script: the kernel may not
    /// support that.
    #[must_use]
    pub fn is_store_of_script(&self) -> bool {
        self.undecided.store && self.store == Store::XenStore
    }
}

fn name(reader: &mut Reader<'_>) -> String {
    let Some((name, value)) = reader.text("name") else {
        reader.faults.add_missing("name", "web");
        return String::new();
    };
    let checked =
        check_name(name).map_err(|error| ConfigProblem::Name { name: name.to_owned(), error });
    reader.value("name", value, checked);
    name.to_owned()
}

/// Returns the command line, if it is not too long.
fn cmdline(reader: &mut Reader<'_>) -> String {
    let cmdline = joined(reader);
    if cmdline.len() > MAX_COMMAND_LINE {
        let keys = ["cmdline", "extra", "root"];
        if let Some((key, setting)) = keys.iter().find_map(|key| Some((*key, reader.find(key)?))) {
            let (length, most) = (cmdline.len(), MAX_COMMAND_LINE);
            let problem = ConfigProblem::CommandLine { key, length, most };
            reader.refuse(key, setting.value.span, problem);
        }
    }
    cmdline
}

/// Returns the command line as xl forms it: `cmdline=`, or else `root=` and `extra=`.
fn joined(reader: &mut Reader<'_>) -> String {
    let cmdline = reader.text("cmdline");
    let root = reader.text("root");
    let extra = reader.text("extra");
    if let Some((cmdline, _)) = cmdline {
        for (key, value) in [("root", root), ("extra", extra)] {
            if let Some((_, value)) = value {
                reader.warn(value.span, WarningKind::Overridden { key });
            }
        }
        return cmdline.to_owned();
    }
    match (root, extra) {
        (Some((root, _)), Some((extra, _))) => format!("root={root} {extra}"),
        (Some((root, _)), None) => format!("root={root}"),
        (None, Some((extra, _))) => extra.to_owned(),
        (None, None) => String::new(),
    }
}
