// SPDX-License-Identifier: GPL-3.0-or-later
//! Looks up settings by their keys.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use xen::units::KiB;

use super::action::Action;
use super::error::{ConfigError, Fault};
use super::memory::parse_memory;
use super::parser::Setting;
use super::problem::ConfigProblem;
use super::range::parse_range;
use super::source::{Source, SourcePosition, SourceSpan};
use super::value::{Atom, Kind, Value};
use super::warning::{ConfigWarning, WarningKind};

/// The settings of a config, and the warnings so far.
pub(super) struct Reader<'a> {
    /// Name of the config file.
    pub(super) file: &'a str,
    pub(super) sources: &'a [Source<'a>],
    pub(super) settings: &'a [Setting],
    pub(super) warnings: Vec<ConfigWarning>,
}

impl<'a> Reader<'a> {
    pub(super) fn find(&self, key: &str) -> Option<&'a Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// Returns the text of a key whose value is a number or a string, and the value.
    pub(super) fn text(
        &self,
        key: &'static str,
    ) -> Result<Option<(&'a str, &'a Value)>, ConfigError> {
        let Some(Setting { value, .. }) = self.find(key) else { return Ok(None) };
        match &value.kind {
            Kind::Atom(Atom { text, .. }) => Ok(Some((text, value))),
            Kind::List(_) => {
                let wanted = "a number or a string";
                let problem = ConfigProblem::Type { key, wanted, found: value.kind_name() };
                Err(self.error(value.span, problem))
            }
        }
    }

    pub(super) fn path(&self, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        match self.text(key)? {
            Some(("", value)) => Err(self.error(value.span, ConfigProblem::Empty { key })),
            text => Ok(text.map(|(text, _)| PathBuf::from(text))),
        }
    }

    pub(super) fn number(
        &self,
        key: &'static str,
        range: RangeInclusive<u16>,
    ) -> Result<Option<(u16, SourceSpan)>, ConfigError> {
        let Some((text, value)) = self.text(key)? else { return Ok(None) };
        parse_range(key, text, range)
            .map(|number| Some((number, value.span)))
            .map_err(|problem| self.error(value.span, problem))
    }

    pub(super) fn memory(
        &self,
        key: &'static str,
    ) -> Result<Option<(KiB, SourceSpan)>, ConfigError> {
        let Some((text, value)) = self.text(key)? else { return Ok(None) };
        match parse_memory(text) {
            Ok(memory) => Ok(Some((memory, value.span))),
            Err(error) => {
                let text = text.to_owned();
                Err(self.error(value.span, ConfigProblem::Memory { key, text, error }))
            }
        }
    }

    pub(super) fn action(&self, key: &'static str, default: Action) -> Result<Action, ConfigError> {
        let Some((text, value)) = self.text(key)? else { return Ok(default) };
        text.parse().map_err(|error| self.error(value.span, ConfigProblem::Action { key, error }))
    }

    pub(super) fn warn(&mut self, span: SourceSpan, kind: WarningKind) {
        self.warnings
            .push(ConfigWarning { position: SourcePosition::new(self.sources, span), kind });
    }

    pub(super) fn error(&self, span: SourceSpan, problem: ConfigProblem) -> ConfigError {
        Fault { span, problem }.into_error(self.sources)
    }

    pub(super) fn missing(&self, key: &'static str, example: &'static str) -> ConfigError {
        ConfigError::Missing { file: self.file.to_owned(), key, example }
    }
}
