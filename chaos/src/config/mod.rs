// SPDX-License-Identifier: GPL-3.0-or-later
//! Configs of guests, in the syntax of xl.cfg(5).
//!
//! A config that works with `xl create` works with chaos, or chaos refuses it and names the line,
//! the key and the reason. `docs/config.md` lists the differences from xl.

mod action;
mod check;
mod cpupool;
mod devices;
mod disk;
mod disk_format;
mod disk_prefix;
mod domain;
mod encoded;
mod error;
mod extras;
mod ip;
mod key_table;
mod keys;
mod lexer;
mod memory;
mod name;
mod number;
mod numbered;
mod parser;
mod problem;
mod range;
mod rate;
mod reader;
mod source;
mod spelling;
mod store;
mod text;
mod value;
mod vdev;
mod vif;
mod vif_fields;
mod vif_problem;
mod vif_script;
mod warning;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{FileType, OFlags, Stat, makedev};

use crate::found::open_checked;

pub(crate) use action::PlainAction;
pub use action::{Action, UnknownAction};
pub use check::EncodedError;
pub use cpupool::{CpupoolConfig, parse_cpupool};
pub use devices::{parse_disk_arguments, parse_vif_arguments};
pub use disk::{DiskConfig, DiskProblem};
pub use disk_format::DiskFormat;
pub use domain::{DEFAULT_MEMORY, DomainConfig, MAX_COMMAND_LINE, MAX_VCPUS, Undecided};
pub use encoded::EncodedConfig;
pub use error::{ConfigError, ConfigErrors, MAX_SIZE};
pub(crate) use extras::OPEN_FILES;
pub use extras::{
    Affinity, Bootloader, Extras, Limits, PlainBootloader, PlainExtras, Shim, TimerMode, TscMode,
};
pub use ip::{DEFAULT_PREFIX, DEFAULT_PREFIX_IPV6, IpError};
pub use key_table::KEYS;
pub use keys::{Accepted, ConfigKey, KeySupport, WhyNot};
pub use memory::{MAX_MEMORY, MIN_MEMORY, MemoryError, check_memory, parse_memory};
pub(crate) use name::{DOM0, check_stored_name};
pub use name::{MAX_NAME, NameError, check_name};
pub use numbered::{NumberedError, numbered};
pub use problem::ConfigProblem;
pub use rate::RateError;
pub use source::SourcePosition;
pub use store::{Backends, Discovery, Store};
pub use vdev::vdev_number;
pub use vif::{
    DEFAULT_BRIDGE, DEFAULT_MTU, MIN_MTU_IPV6, MTU, VifConfig, check_mac, is_interface_name,
    is_vif_name, vif_label,
};
pub use vif_problem::VifProblem;
pub(crate) use vif_script::PlainScript;
pub use vif_script::{SCRIPTS, VifScript};
pub use warning::{ConfigWarning, WarningKind};

use error::Faults;
use reader::Reader;
use source::Source;

/// Configs are usually shorter than this, so that one system call reads all of a config.
const USUAL_SIZE: usize = 2048;

/// Name of the overrides in messages.
const OVERRIDES: &str = "<command line>";

/// A config that was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedConfig {
    /// The guest.
    pub config: DomainConfig,
    /// What is most likely a mistake in the config.
    pub warnings: Vec<ConfigWarning>,
}

/// Parses a config file, followed by the overrides as lines of their own, in which strings need no
/// quotes. `strict` makes unknown keys errors instead of warnings.
///
/// # Errors
/// The file cannot be read, or something in it or in an override is wrong.
pub fn parse_file(
    path: &Path,
    overrides: &[String],
    strict: bool,
) -> Result<ParsedConfig, ConfigErrors> {
    parse_input(path, open(path)?, overrides, strict)
}

/// Opens a config: a file, a pipe, or `/dev/null` if all keys are in the overrides.
fn open(path: &Path) -> Result<File, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let check = |stat: &Stat| match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice if stat.st_rdev == makedev(DEV_NULL.0, DEV_NULL.1) => Ok(()),
        FileType::CharacterDevice | FileType::BlockDevice => {
            Err(ConfigError::Device { path: path.to_owned() })
        }
        _ => Ok(()),
    };
    Ok(open_checked(path, OFlags::empty(), check, failed)?.0)
}

/// The major and minor number of `/dev/null`.
const DEV_NULL: (u32, u32) = (1, 3);

/// Parses a config from an open file or a pipe, as [`parse_file`] does. `name` is its name in
/// messages.
///
/// # Errors
/// As [`parse_file`].
pub fn parse_input(
    name: &Path,
    input: impl Read,
    overrides: &[String],
    strict: bool,
) -> Result<ParsedConfig, ConfigErrors> {
    let text = read(name, input)?;
    parse_str(&name.display().to_string(), &text, overrides, strict)
}

fn read(name: &Path, input: impl Read) -> Result<String, ConfigError> {
    let mut bytes = Vec::with_capacity(USUAL_SIZE);
    input
        .take(MAX_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| ConfigError::Read { path: name.to_owned(), source })?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(ConfigError::TooLarge { path: name.to_owned() });
    }
    text::decode(bytes).map_err(|line| ConfigError::NotText { path: name.to_owned(), line })
}

/// Parses a config from a string, as [`parse_file`] does. `name` is its name in messages.
///
/// # Errors
/// Something in it or in an override is wrong.
pub fn parse_str(
    name: &str,
    text: &str,
    overrides: &[String],
    strict: bool,
) -> Result<ParsedConfig, ConfigErrors> {
    let (config, warnings) = parse_with(name, text, overrides, strict, domain::build)?;
    Ok(ParsedConfig { config, warnings })
}

/// Parses a text, followed by the overrides, and returns what `build` makes of the settings.
fn parse_with<T>(
    name: &str,
    text: &str,
    overrides: &[String],
    strict: bool,
    build: impl FnOnce(&mut Reader<'_>) -> T,
) -> Result<(T, Vec<ConfigWarning>), ConfigErrors> {
    let mut sources = vec![Source { name, text, is_argument: false }];
    sources.extend(overrides.iter().map(|text| Source {
        name: OVERRIDES,
        text,
        is_argument: true,
    }));
    let mut faults = Faults::default();
    let settings = parser::parse(&sources, &mut faults);
    let mut reader = Reader::new(&sources, &settings, faults, strict);
    let built = build(&mut reader);
    reader.faults.check(name.as_ref(), &sources)?;
    Ok((built, reader.warnings))
}

#[cfg(test)]
mod tests;
