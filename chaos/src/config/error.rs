// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a config cannot be used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

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
    /// The file is larger than [`MAX_SIZE`].
    #[error("{}: a config must be at most {} KiB", path.display(), MAX_SIZE >> 10)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not UTF-8 text.
    #[error("{}:{line}: a config must be UTF-8 text", path.display())]
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
    /// The config is wrong at a position.
    #[error("{position}: {problem}\n{}", position.excerpt())]
    Wrong {
        /// Where.
        position: Box<SourcePosition>,
        /// What.
        problem: Box<ConfigProblem>,
    },
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
