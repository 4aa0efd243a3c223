//! Configs of guests, in the syntax of xl.cfg(5).
//!
//! A config that works with `xl create` works here, or is refused with its line, its key and the
//! reason. What is different from xl:
//!
//! - Errors name line and column. A last line without a newline, and lines that end in CR LF, are
//!   read as well. `\ooo` in a string is octal, as the manual page says (xl reads it as decimal).
//! - A list where a string is wanted, or the reverse, is an error. Xl only warns and ignores it.
//! - A key of xl that is not served is an error. A key that xl does not know either is ignored
//!   with a warning that names the nearest known one, or refused if `strict` is given.
//! - `+=` does not add numbers; xl glues their digits together.
//! - `type=` that is missing means `"pvh"`, with a warning; `"pv"` and `"hvm"` are refused.
//!   `builder=` of `"generic"` or `"linux"` has no effect.
//! - `memory=` also takes a string such as `"1536K"`, `"2M"` or `"1G"`, down to 1 MiB and to
//!   whole pages; `maxmem=` and `maxvcpus=` must equal `memory=` and `vcpus=`.
//! - `name=` must not look like a domid, be a path, or begin with a dot ([`check_name`]).
//! - `ip=` of a vif is an address, with a prefix length or a netmask and with a gateway if there
//!   is one: `10.0.0.2/24 10.0.0.1` or `10.0.0.2 255.255.255.0 10.0.0.1`. The prefix is 24 if none
//!   is given.
//! - `mtu=` of a vif is at most 1500, what the switch and its tap carry.
//! - `console=` (0 or 1, 1 if missing) and `store=` (`"noxs"`) are chaos' own keys, which xl ignores.

mod action;
mod domain;
mod error;
mod ip;
mod keys;
mod lexer;
mod memory;
mod name;
mod parser;
mod rate;
mod source;
mod value;
mod vif;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use action::{Action, UnknownAction};
pub use domain::{DEFAULT_MEMORY, DomainConfig, MAX_VCPUS};
pub use error::{ConfigError, Problem, Warning, WarningKind};
pub use ip::{DEFAULT_PREFIX, IpError};
pub use keys::{KEYS, Key, Service, WhyNot};
pub use memory::{MAX_MEMORY, MIN_MEMORY, MemoryError};
pub use name::{MAX_NAME, NameError, check_name};
pub use rate::RateError;
pub use source::Place;
pub use vif::{DEFAULT_BRIDGE, DEFAULT_MTU, MAX_VIFS, VifConfig};

use source::Source;

/// Configs are shorter than this, so that one system call reads all.
const USUAL_SIZE: usize = 2048;

/// Largest config in bytes.
pub const MAX_SIZE: u64 = 1 << 20;

/// What overrides are called in messages.
const COMMAND_LINE: &str = "<command line>";

/// A config that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The guest.
    pub config: DomainConfig,
    /// What is most likely a mistake in it.
    pub warnings: Vec<Warning>,
}

/// Reads a config file. The overrides are read after it, as lines of their own.
///
/// # Errors
/// The file cannot be read, or something in it or in an override is wrong.
pub fn parse_file(path: &Path, overrides: &[String], strict: bool) -> Result<Parsed, ConfigError> {
    let read_error = |source| ConfigError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read_error)?;
    let mut bytes = Vec::with_capacity(USUAL_SIZE);
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(read_error)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let text = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = text.iter().filter(|byte| **byte == b'\n').count() + 1;
        ConfigError::NotText { path: path.to_owned(), line }
    })?;
    parse_str(&path.display().to_string(), &text, overrides, strict)
}

/// Reads a config from a string; `name` is what it is called in messages.
///
/// # Errors
/// Something in it or in an override is wrong.
pub fn parse_str(
    name: &str,
    text: &str,
    overrides: &[String],
    strict: bool,
) -> Result<Parsed, ConfigError> {
    let mut sources = vec![Source { name, text }];
    sources.extend(overrides.iter().map(|text| Source { name: COMMAND_LINE, text }));
    let settings = parser::parse(&sources).map_err(|fault| fault.into_error(&sources))?;
    let (config, warnings) = domain::build(name, &sources, &settings, strict)?;
    Ok(Parsed { config, warnings })
}

#[cfg(test)]
mod tests;
