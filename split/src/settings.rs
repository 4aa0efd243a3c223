//! The configuration file, TOML:
//!
//! ```toml
//! memory = "256M"            # all shells together may hold this much
//!
//! [[flavour]]
//! name = "small"
//! memory = "8M"              # of each shell; as in a guest's config
//! vcpus = 1                  # 1 if missing
//! console = true             # true if missing
//! bridges = ["xenbr0"]       # one vif on each; none if missing
//! store = "noxs"             # or "xenstore"; "noxs" if missing
//! kernel = "/srv/redis"      # the shells hold this kernel already; none if missing
//! low = 4                    # refilled when there are fewer
//! high = 16                  # up to this many
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chaos::config::Store;
use chaos::config::{MAX_VCPUS, MAX_VIFS, MemoryError, parse_memory};
use chaos::domain::Flavour;
use chaos::guests::ShellKind;
use serde::Deserialize;
use thiserror::Error;
use xen::units::KiB;

/// Where the file is.
pub const PATH: &str = "/etc/chaos/chaosd.toml";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Memory that all shells together may hold.
    pub memory: KiB,
    /// The flavours; no two have the same name.
    pub flavours: Vec<FlavourSettings>,
}

/// One flavour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlavourSettings {
    /// Its name.
    pub name: String,
    /// Memory of each shell.
    pub memory: KiB,
    /// vCPUs of each shell.
    pub vcpus: u32,
    /// Whether each shell has a console.
    pub console: bool,
    /// The bridge of each vif.
    pub bridges: Vec<String>,
    /// What announces the devices.
    pub store: Store,
    /// The kernel that the shells hold already.
    pub kernel: Option<PathBuf>,
    /// The pool is refilled when there are fewer shells.
    pub low: u32,
    /// Up to this many.
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
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML, or has other keys. The message shows the place.
    #[error("{path} is wrong:\n{source}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What and where.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value cannot be used.
    #[error("{path}: {place}: {problem}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Which flavour, or the file itself.
        place: String,
        /// What is wrong.
        problem: Problem,
    },
}

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// A size of memory.
    #[error("memory: {0}")]
    Memory(#[from] MemoryError),
    /// A number of vCPUs.
    #[error("vcpus: from 1 to {MAX_VCPUS} are possible, not {0}")]
    Vcpus(u32),
    /// Too many vifs.
    #[error("bridges: {0} vifs, and at most {MAX_VIFS} are possible")]
    Vifs(usize),
    /// The marks.
    #[error("low is {low} and high is {high}; high must not be less than low")]
    Marks {
        /// The low mark.
        low: u32,
        /// The high mark.
        high: u32,
    },
    /// Two flavours with one name.
    #[error("there are two flavours of this name")]
    Twice,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    memory: String,
    #[serde(default)]
    flavour: Vec<FlavourTable>,
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
    /// The kind of its shells, but for the kernel, which has not been read.
    #[must_use]
    pub fn shell(&self) -> ShellKind {
        let flavour = Flavour {
            memory: self.memory,
            vcpus: self.vcpus,
            console: self.console,
            vifs: u16::try_from(self.bridges.len()).unwrap_or(u16::MAX),
            store: self.store,
        };
        ShellKind { flavour, bridges: self.bridges.clone(), image: None }
    }
}

impl Settings {
    /// No flavours.
    #[must_use]
    pub fn none() -> Self {
        Self { memory: KiB(0), flavours: Vec::new() }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or something in it is wrong.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        let file: File = toml::from_str(text).map_err(|source| SettingsError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let wrong = |place: &str, problem| SettingsError::Value {
            path: path.to_owned(),
            place: place.to_owned(),
            problem,
        };
        let memory = parse_memory(&file.memory).map_err(|error| wrong("the pool", error.into()))?;
        let mut flavours: Vec<FlavourSettings> = Vec::new();
        for flavour in file.flavour {
            let name = flavour.name.clone();
            if flavours.iter().any(|other| other.name == name) {
                return Err(wrong(&name, Problem::Twice));
            }
            flavours.push(check(flavour).map_err(|problem| wrong(&name, problem))?);
        }
        Ok(Self { memory, flavours })
    }
}

fn check(flavour: FlavourTable) -> Result<FlavourSettings, Problem> {
    let FlavourTable { name, memory, vcpus, console, bridges, store, kernel, low, high } = flavour;
    let memory = parse_memory(&memory)?;
    if !(1..=MAX_VCPUS).contains(&vcpus) {
        return Err(Problem::Vcpus(vcpus));
    }
    if bridges.len() > MAX_VIFS {
        return Err(Problem::Vifs(bridges.len()));
    }
    if low > high {
        return Err(Problem::Marks { low, high });
    }
    Ok(FlavourSettings { name, memory, vcpus, console, bridges, store, kernel, low, high })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, SettingsError> {
        Settings::parse(Path::new("chaosd.toml"), text)
    }

    #[test]
    fn each_key_has_its_meaning() {
        let settings = parse(
            "memory = '64M'\n[[flavour]]\nname = 'a'\nmemory = '8M'\nvcpus = 2\nconsole = false\n\
             bridges = ['br1']\nstore = 'xenstore'\nkernel = '/k'\nlow = 2\nhigh = 4\n\
             [[flavour]]\nname = 'b'\nmemory = '1536K'\nlow = 0\nhigh = 0\n",
        )
        .unwrap();
        assert_eq!(settings.memory, KiB(64 << 10));
        let [a, b] = settings.flavours.try_into().unwrap();
        let expected = FlavourSettings {
            name: "a".into(),
            memory: KiB(8192),
            vcpus: 2,
            console: false,
            bridges: vec!["br1".into()],
            store: Store::XenStore,
            kernel: Some("/k".into()),
            low: 2,
            high: 4,
        };
        assert_eq!(a, expected);
        assert_eq!((b.memory, b.vcpus, b.console), (KiB(1536), 1, true));
        assert_eq!((b.bridges.len(), b.kernel, b.store), (0, None, Store::Noxs));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let flavour = |line: &str| {
            format!("memory='64M'\n[[flavour]]\nname='a'\nmemory='8M'\nlow=1\nhigh=2\n{line}")
        };
        for (text, expected) in [
            (flavour("vcpus=0"), "chaosd.toml: a: vcpus: from 1 to 128 are possible, not 0"),
            (flavour("vcpu=1"), "unknown field `vcpu`"),
            (flavour("").replace("8M", "8X"), "chaosd.toml: a: memory: a number of MiB"),
            (flavour("").replace("low=1", "low=3"), "low is 3 and high is 2"),
            (flavour("").replace("high=2\n", ""), "missing field `high`"),
            (flavour("bridges=['a','b']"), "2 vifs, and at most 1"),
            (flavour(&flavour("")[13..]), "there are two flavours of this name"),
            ("memory = ".to_owned(), "line 1"),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        }
    }
}
