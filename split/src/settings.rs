// SPDX-License-Identifier: GPL-3.0-or-later
//! The configuration file, in TOML:
//!
//! ```toml
//! memory = "256M"            # upper bound for all shells together
//! learn = true               # also keep shells that no flavour names but are asked for; default: true
//! metrics = "127.0.0.1:9091"  # also serve metrics here, to every user of dom0; default: not
//!
//! [[flavour]]
//! name = "small"
//! memory = "8M"              # of each shell, as in a guest's config
//! vcpus = 1                  # default: 1
//! console = true             # default: true
//! bridges = ["xenbr0"]       # one vif on each, at most 8; default: none
//! store = "noxs"             # or "xenstore"; default: "noxs"
//! disks = 1                  # their files come with the guest; default: 0
//! kernel = "/srv/redis"      # shells hold this kernel already; default: none
//! low = 4                    # refill when there are fewer
//! high = 16                  # up to this many
//!
//! [members]                  # limits of each user who is not root; all optional
//! guests = 16                # guests at the same time
//! memory = "1G"              # of all their guests together
//! files = "256M"             # kernels and ramdisks that chaosd holds for them; less in a small dom0
//! all_guests = 64            # the same three of all these users together
//! all_memory = "4G"
//! all_files = "512M"
//! connections = 8            # to chaosd at the same time, each with one request in progress
//! bridges = ["xenbr0"]       # that their guests may use; default: all
//! ```

use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use chaos::config::{Discovery, Limits, MAX_VCPUS, MemoryError, Store, parse_memory};
use chaos::domain::Flavour;
use chaos::guests::ShellKind;
use nix::sys::sysinfo::sysinfo;
use noxs::{MAX_DEVICES, MAX_VIFS};
use serde::Deserialize;
use thiserror::Error;
use xen::units::KiB;

/// The default path of the file.
pub const PATH: &str = "/etc/chaos/chaosd.toml";

/// The contents of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most memory that all shells together may hold; `None` for a share of the free memory.
    pub memory: Option<KiB>,
    /// Whether shells are kept that no flavour names, as long as they are asked for.
    pub learn: bool,
    /// The address on loopback where metrics are served, too.
    pub metrics: Option<SocketAddrV4>,
    /// The flavours; no two have the same name.
    pub flavours: Vec<FlavourSettings>,
    /// The limits of each user who is not root.
    pub members: MemberLimits,
}

/// The limits of each user who is not root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberLimits {
    /// The most guests at the same time.
    pub guests: u32,
    /// The most memory of all guests together.
    pub memory: KiB,
    /// The most memory that `chaosd` holds for kernels and ramdisks.
    pub files: KiB,
    /// The most guests of all of them together.
    pub all_guests: u32,
    /// The most memory of the guests of all of them together.
    pub all_memory: KiB,
    /// The most memory that `chaosd` holds for kernels and ramdisks of all of them together.
    pub all_files: KiB,
    /// The most connections. Each has at most one request in progress.
    pub connections: u32,
    /// The bridges that the guests may use; `None` for all.
    pub bridges: Option<Vec<String>>,
}

impl Default for MemberLimits {
    /// Returns the limits of this machine, if its file does not say other ones.
    fn default() -> Self {
        Self::of_dom0(sysinfo().map_or(KiB(0), |system| KiB(system.ram_total() >> 10)))
    }
}

impl MemberLimits {
    /// Returns the limits if dom0 has this much memory: files of members take an eighth of it at
    /// most.
    fn of_dom0(total: KiB) -> Self {
        let part = |most: KiB, divisor| most.min(KiB(total.0 / divisor));
        let (memory, files) = (KiB(1 << 20), part(KiB(256 << 10), 16));
        let (all_memory, all_files) = (KiB(4 << 20), part(KiB(512 << 10), 8));
        let (guests, all_guests) = (16, 64);
        let (connections, bridges) = (8, None);
        Self { guests, memory, files, all_guests, all_memory, all_files, connections, bridges }
    }
}

/// One flavour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlavourSettings {
    /// Its name.
    pub name: String,
    /// Memory of each shell.
    pub memory: KiB,
    /// Number of vCPUs of each shell.
    pub vcpus: u32,
    /// Whether each shell has a console.
    pub console: bool,
    /// The bridge of each vif.
    pub bridges: Vec<String>,
    /// What announces the devices.
    pub store: Store,
    /// Number of disks of each shell; 0 in XenStore mode, where it has no part in a shell.
    pub disks: u16,
    /// The kernel that the shells hold already.
    pub kernel: Option<PathBuf>,
    /// The pool is refilled when there are fewer shells.
    pub low: u32,
    /// It is refilled up to this many.
    pub high: u32,
}

/// Why the settings cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file is not TOML, or has unknown or missing keys. The source shows the line.
    #[error("{path} is not a valid configuration")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The cause, with line and column.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value is invalid.
    #[error("{path}{}", of_flavour(flavour.as_deref()))]
    Value {
        /// The file.
        path: PathBuf,
        /// The flavour with the value; `None` for a value of the whole file.
        flavour: Option<String>,
        /// What is wrong.
        #[source]
        problem: ValueProblem,
    },
}

fn of_flavour(flavour: Option<&str>) -> String {
    flavour.map_or_else(String::new, |flavour| format!(": flavour {flavour}"))
}

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum ValueProblem {
    /// The memory.
    #[error("memory = {text:?}")]
    Memory {
        /// The text in the file.
        text: String,
        /// The cause.
        #[source]
        source: MemoryError,
    },
    /// The number of vCPUs.
    #[error("vcpus = {0}: must be 1 to {MAX_VCPUS}")]
    Vcpus(u32),
    /// Too many vifs.
    #[error("bridges: {0} vifs; must be at most {MAX_VIFS}")]
    Vifs(usize),
    /// Too many devices.
    #[error("disks: the shells have {0} devices; must be at most {MAX_DEVICES}")]
    Devices(usize),
    /// Disks that shells cannot be prepared for.
    #[error(
        "disks = {0}: must be 0 with store = \"xenstore\", where the guest creates the rings of its \
         disks; its shells are for guests with any disks"
    )]
    Disks(u16),
    /// The marks.
    #[error("low = {low}: must be at most high, which is {high}")]
    Marks {
        /// The low mark.
        low: u32,
        /// The high mark.
        high: u32,
    },
    /// There are flavours, and no limit of the memory of their shells.
    #[error(
        "memory is missing: say how much memory the shells of all flavours together may hold, such as \
         memory = \"256M\", above the first flavour"
    )]
    NoMemory,
    /// Metrics would be served to other machines, or the address is not one.
    #[error(
        "metrics = {0:?}: must be an IPv4 address on loopback with a port, such as \"127.0.0.1:9091\"; for \
         other machines, use a proxy that asks who they are"
    )]
    Metrics(String),
    /// Two flavours have the same name.
    #[error("name: another flavour has the same; names must differ")]
    SameName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsFile {
    memory: Option<String>,
    #[serde(default = "yes")]
    learn: bool,
    metrics: Option<String>,
    #[serde(default)]
    flavour: Vec<FlavourTable>,
    #[serde(default)]
    members: MembersTable,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MembersTable {
    guests: Option<u32>,
    memory: Option<String>,
    files: Option<String>,
    all_guests: Option<u32>,
    all_memory: Option<String>,
    all_files: Option<String>,
    connections: Option<u32>,
    bridges: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlavourTable {
    name: String,
    memory: String,
    #[serde(default = "one")]
    vcpus: u32,
    #[serde(default = "yes")]
    console: bool,
    #[serde(default)]
    bridges: Vec<String>,
    #[serde(default)]
    store: Store,
    #[serde(default)]
    disks: u16,
    kernel: Option<PathBuf>,
    low: u32,
    high: u32,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

impl FlavourSettings {
    /// Returns the kind of its shells, without the kernel, which has not been read yet.
    ///
    /// # Panics
    /// If there are more than 65,535 bridges. [`Settings::read`] accepts at most [`MAX_VIFS`].
    #[must_use]
    pub fn shell(&self) -> ShellKind {
        let flavour = Flavour {
            limits: Limits::default(),
            memory: self.memory,
            vcpus: self.vcpus,
            console: self.console,
            vifs: u16::try_from(self.bridges.len()).expect("at most MAX_VIFS, which was checked"),
            disks: self.disks,
            store: self.store,
        };
        ShellKind { flavour, bridges: self.bridges.clone(), image: None }
    }
}

impl Settings {
    /// Returns the settings without a file.
    #[must_use]
    pub fn none() -> Self {
        let (memory, metrics, flavours) = (None, None, Vec::new());
        Self { memory, learn: true, metrics, flavours, members: MemberLimits::default() }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// The file cannot be read, or its contents are invalid.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        let file: SettingsFile = toml::from_str(text).map_err(|source| SettingsError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let wrong =
            |flavour, problem| SettingsError::Value { path: path.to_owned(), flavour, problem };
        if file.memory.is_none() && !file.flavour.is_empty() {
            return Err(wrong(None, ValueProblem::NoMemory));
        }
        let memory = file.memory.map(memory).transpose().map_err(|problem| wrong(None, problem))?;
        let mut flavours: Vec<FlavourSettings> = Vec::new();
        for flavour in file.flavour {
            let name = flavour.name.clone();
            if flavours.iter().any(|other| other.name == name) {
                return Err(wrong(Some(name), ValueProblem::SameName));
            }
            flavours.push(check(flavour).map_err(|problem| wrong(Some(name), problem))?);
        }
        let metrics = file.metrics.map(loopback).transpose();
        let metrics = metrics.map_err(|problem| wrong(None, problem))?;
        let members = limits(file.members).map_err(|problem| wrong(None, problem))?;
        Ok(Self { memory, learn: file.learn, metrics, flavours, members })
    }
}

fn memory(text: String) -> Result<KiB, ValueProblem> {
    parse_memory(&text).map_err(|source| ValueProblem::Memory { text, source })
}

fn loopback(text: String) -> Result<SocketAddrV4, ValueProblem> {
    let address = text.parse().ok().filter(|address: &SocketAddrV4| address.ip().is_loopback());
    address.ok_or(ValueProblem::Metrics(text))
}

fn limits(table: MembersTable) -> Result<MemberLimits, ValueProblem> {
    let default = MemberLimits::default();
    Ok(MemberLimits {
        guests: table.guests.unwrap_or(default.guests),
        memory: table.memory.map_or(Ok(default.memory), memory)?,
        files: table.files.map_or(Ok(default.files), memory)?,
        all_guests: table.all_guests.unwrap_or(default.all_guests),
        all_memory: table.all_memory.map_or(Ok(default.all_memory), memory)?,
        all_files: table.all_files.map_or(Ok(default.all_files), memory)?,
        connections: table.connections.unwrap_or(default.connections),
        bridges: table.bridges,
    })
}

fn check(flavour: FlavourTable) -> Result<FlavourSettings, ValueProblem> {
    let FlavourTable { name, memory, vcpus, console, bridges, store, disks, kernel, low, high } =
        flavour;
    let memory = self::memory(memory)?;
    if !(1..=MAX_VCPUS).contains(&vcpus) {
        return Err(ValueProblem::Vcpus(vcpus));
    }
    if bridges.len() > MAX_VIFS {
        return Err(ValueProblem::Vifs(bridges.len()));
    }
    let devices = usize::from(console) + bridges.len() + usize::from(disks);
    if devices > MAX_DEVICES {
        return Err(ValueProblem::Devices(devices));
    }
    if disks > 0 && store.discovery() != Discovery::DevicePage {
        return Err(ValueProblem::Disks(disks));
    }
    if low > high {
        return Err(ValueProblem::Marks { low, high });
    }
    Ok(FlavourSettings { name, memory, vcpus, console, bridges, store, disks, kernel, low, high })
}

#[cfg(test)]
mod tests {
    use daemon::chain::chain;

    use super::*;

    fn parse(text: &str) -> Result<Settings, SettingsError> {
        Settings::parse(Path::new("chaosd.toml"), text)
    }

    #[test]
    fn each_key_is_read() {
        let settings = parse(
            "memory = '64M'\n[[flavour]]\nname = 'a'\nmemory = '8M'\nvcpus = 2\nconsole = false\n\
             bridges = ['br1', 'br0', 'br1']\nstore = 'xenstore'\nkernel = '/k'\nlow = 2\nhigh = 4\n\
             [[flavour]]\nname = 'b'\nmemory = '1536K'\ndisks = 2\nlow = 0\nhigh = 0\n",
        )
        .unwrap();
        assert_eq!((settings.memory, settings.learn), (Some(KiB(64 << 10)), true));
        let [a, b] = settings.flavours.try_into().unwrap();
        let expected = FlavourSettings {
            name: "a".into(),
            memory: KiB(8192),
            vcpus: 2,
            console: false,
            bridges: vec!["br1".into(), "br0".into(), "br1".into()],
            store: Store::XenStore,
            disks: 0,
            kernel: Some("/k".into()),
            low: 2,
            high: 4,
        };
        assert_eq!(a, expected);
        assert_eq!((b.memory, b.vcpus, b.console), (KiB(1536), 1, true));
        assert_eq!((b.bridges.len(), b.kernel, b.store), (0, None, Store::Noxs));
        assert_eq!((a.disks, b.disks), (0, 2));
    }

    #[test]
    fn a_file_without_flavours_needs_no_memory_and_may_switch_learning_off() {
        let settings = parse("learn = false\n[members]\nguests = 3\n").unwrap();
        assert_eq!((settings.memory, settings.learn), (None, false));
        assert_eq!(Settings { learn: true, ..parse("").unwrap() }, Settings::none());
    }

    #[test]
    fn metrics_are_served_on_loopback_only() {
        let metrics = |text: &str| parse(&format!("metrics = '{text}'")).map(|one| one.metrics);
        assert_eq!(metrics("127.0.0.1:9091").unwrap(), "127.0.0.1:9091".parse().ok());
        for wrong in ["0.0.0.0:9091", "[::1]:9091", "10.0.0.1:9091", "127.0.0.1", "localhost:9091"]
        {
            let error = chain(&metrics(wrong).unwrap_err());
            assert!(error.contains("must be an IPv4 address on loopback"), "{error}");
        }
    }

    #[test]
    fn a_small_dom0_holds_fewer_files_of_members() {
        let files = |mib: u64| {
            let limits = MemberLimits::of_dom0(KiB(mib << 10));
            (limits.files.0 >> 10, limits.all_files.0 >> 10)
        };
        assert_eq!(files(512), (32, 64));
        assert_eq!(files(4096), (256, 512));
        assert_eq!(files(65536), (256, 512));
    }

    #[test]
    fn members_have_limits_also_if_the_file_does_not_say() {
        let members = |more: &str| parse(&format!("memory='64M'\n{more}")).unwrap().members;
        assert_eq!(members(""), MemberLimits::default());
        let text = "[members]\nguests=0\nmemory='8M'\nfiles='4M'\nall_guests=3\nall_memory='9M'\n\
                    all_files='7M'\nconnections=1\nbridges=['b']";
        let expected = MemberLimits {
            guests: 0,
            memory: KiB(8192),
            files: KiB(4096),
            all_guests: 3,
            all_memory: KiB(9216),
            all_files: KiB(7168),
            connections: 1,
            bridges: Some(vec!["b".into()]),
        };
        assert_eq!(members(text), expected);
        assert!(parse("memory='64M'\n[members]\nguest=1").is_err());
    }

    #[test]
    fn an_error_names_the_flavour_the_value_and_the_limit() {
        let flavour = |line: &str| {
            format!("memory='64M'\n[[flavour]]\nname='a'\nmemory='8M'\nlow=1\nhigh=2\n{line}")
        };
        for (text, expected) in [
            (flavour("vcpus=0"), "chaosd.toml: flavour a: vcpus = 0: must be 1 to 128"),
            (flavour("vcpu=1"), "chaosd.toml is not a valid configuration: "),
            (flavour("vcpu=1"), "unknown field `vcpu`"),
            (
                flavour("").replace("8M", "8X"),
                "chaosd.toml: flavour a: memory = \"8X\": must be a number of MiB",
            ),
            (flavour("").replace("64M", "1K"), "chaosd.toml: memory = \"1K\": must be at least"),
            (
                flavour("").replace("memory='64M'\n", ""),
                "chaosd.toml: memory is missing: say how much",
            ),
            (flavour("").replace("low=1", "low=3"), "low = 3: must be at most high, which is 2"),
            (flavour("").replace("high=2\n", ""), "missing field `high`"),
            (
                flavour("bridges=['a','b','a','b','a','b','a','b','a']"),
                "bridges: 9 vifs; must be at most 8",
            ),
            (flavour("disks=31"), "disks: the shells have 32 devices; must be at most 31"),
            (flavour("store='xenstore'\ndisks=1"), "disks = 1: must be 0 with store"),
            (flavour(&flavour("")[13..]), "flavour a: name: another flavour has the same"),
            ("memory = ".to_owned(), "line 1"),
        ] {
            let error = chain(&parse(&text).unwrap_err());
            assert_eq!(error.matches(expected).count(), 1, "{error:?} says {expected:?} once");
        }
    }
}
