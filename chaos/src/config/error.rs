// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a config cannot be used.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::OVERRIDES;
use super::problem::ConfigProblem;
use super::source::{Source, SourcePosition, SourceSpan};

/// Largest config in bytes.
pub const MAX_SIZE: u64 = 1 << 20;

/// Why a config cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a device, which is not opened.
    #[error("{} is a device: a config must be a file or a pipe; - reads standard input", path.display())]
    Device {
        /// The device.
        path: PathBuf,
    },
    /// The file is larger than [`MAX_SIZE`].
    #[error("{}: a config must be at most {} KiB", path.display(), MAX_SIZE >> 10)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not UTF-8 text.
    #[error(
        "{}:{line}: a config must be UTF-8 text; convert it, such as with iconv -f latin1 -t utf8",
        path.display()
    )]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line of the first byte that is not text, counted from 1.
        line: usize,
    },
    /// A key is missing.
    #[error("{file}: {key} is missing; add a line such as {key} = {example:?}")]
    Missing {
        /// The file.
        file: String,
        /// The key.
        key: &'static str,
        /// A valid value.
        example: &'static str,
    },
    /// A command that adds a device got no fields of it.
    #[error(
        "the fields of the {device} are missing; add those of a string of {device}=, such as {example}"
    )]
    NoFields {
        /// The key whose strings have such fields.
        device: &'static str,
        /// Valid fields.
        example: &'static str,
    },
    /// The config is wrong at a position.
    #[error("{position}: {problem}\n{}", position.excerpt())]
    Wrong {
        /// Where.
        position: Box<SourcePosition>,
        /// What.
        problem: Box<ConfigProblem>,
    },
}

impl ConfigError {
    /// Returns the name of the file, or `<command line>` for an override.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::Read { path, .. }
            | Self::Device { path }
            | Self::TooLarge { path }
            | Self::NotText { path, .. } => path.to_str(),
            Self::Missing { file, .. } => Some(file),
            Self::NoFields { .. } => Some(OVERRIDES),
            Self::Wrong { position, .. } => Some(&position.file),
        }
    }
}

/// Most errors of a config that are reported. A file with more is something else.
const MAX_ERRORS: usize = 100;

/// Everything that is wrong with a config, in the order of its text: at least one error. What is
/// missing comes last.
#[derive(Debug)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
    are_more: bool,
}

impl ConfigErrors {
    /// Returns each error.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.errors.iter()
    }

    /// Returns the only error.
    #[cfg(test)]
    pub(super) fn into_first(mut self) -> ConfigError {
        assert_eq!(self.errors.len(), 1, "{self}");
        self.errors.remove(0)
    }

    /// Returns whether there are more errors than [`iter`](Self::iter) returns.
    #[must_use]
    pub fn are_more(&self) -> bool {
        self.are_more
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self { errors: vec![error], are_more: false }
    }
}

/// One error after the other, each with its lines.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.errors.iter().enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{error}")?;
        }
        Ok(())
    }
}

impl Error for ConfigErrors {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.errors.first()?.source()
    }
}

/// The errors that were found so far, and the keys whose value is not known because of them.
#[derive(Debug, Default)]
pub(super) struct Faults {
    faults: Vec<Fault>,
    missing: Vec<(&'static str, &'static str)>,
    keys: BTreeSet<String>,
    suspects: Vec<Fault>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Adds a probable mistake, which is reported if there is a fault: it may be its cause, as `nmae` is if the
    /// name is missing.
    pub(super) fn suspect(&mut self, fault: Fault) {
        self.suspects.push(fault);
    }

    /// Adds a fault because of which the value of a key is not known.
    pub(super) fn add_for(&mut self, key: &str, fault: Fault) {
        self.keys.insert(key.to_owned());
        self.add(fault);
    }

    /// Adds that a key is missing, unless it is there with a fault.
    pub(super) fn add_missing(&mut self, key: &'static str, example: &'static str) {
        if !self.is_unknown(key) {
            self.missing.push((key, example));
        }
    }

    /// Returns whether a key is there, but has no valid value.
    pub(super) fn is_unknown(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    #[cfg(test)]
    pub(super) fn are_some(&self) -> bool {
        !self.faults.is_empty()
    }

    /// Returns whether there are more than are reported.
    pub(super) fn are_enough(&self) -> bool {
        self.faults.len() > MAX_ERRORS
    }

    /// Returns the errors, unless there are none. Lines and columns are counted only now.
    ///
    /// # Errors
    /// There are some.
    pub(super) fn check(mut self, file: &Path, sources: &[Source<'_>]) -> Result<(), ConfigErrors> {
        if self.faults.is_empty() && self.missing.is_empty() {
            return Ok(());
        }
        self.faults.append(&mut self.suspects);
        self.faults.sort_by_key(|fault| (fault.span.source, fault.span.start));
        let are_more = self.faults.len() > MAX_ERRORS;
        self.faults.truncate(MAX_ERRORS);
        let missing = self.missing.into_iter().map(|(key, example)| ConfigError::Missing {
            file: file.display().to_string(),
            key,
            example,
        });
        let faults = self.faults.into_iter().map(|fault| fault.into_error(sources));
        Err(ConfigErrors { errors: faults.chain(missing).collect(), are_more })
    }
}

/// A problem and its span. Line and column are counted only when it becomes a [`ConfigError`].
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: SourceSpan,
    pub(super) problem: ConfigProblem,
}

impl Fault {
    pub(super) fn into_error(self, sources: &[Source<'_>]) -> ConfigError {
        ConfigError::Wrong {
            position: Box::new(SourcePosition::new(sources, self.span)),
            problem: Box::new(self.problem),
        }
    }
}
