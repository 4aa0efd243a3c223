// SPDX-License-Identifier: GPL-3.0-or-later
//! Looks up settings by their keys.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use xen::units::KiB;

use super::action::Action;
use super::error::{Fault, Faults};
use super::memory::parse_memory;
use super::parser::Setting;
use super::problem::ConfigProblem;
use super::range::parse_range;
use super::source::{Source, SourcePosition, SourceSpan};
use super::value::{Atom, Kind, Value};
use super::warning::{ConfigWarning, WarningKind};

/// The settings of a config, and what was noticed about them so far.
pub(super) struct Reader<'a> {
    pub(super) sources: &'a [Source<'a>],
    pub(super) settings: &'a [Setting],
    pub(super) warnings: Vec<ConfigWarning>,
    pub(super) faults: Faults,
    /// Whether unknown keys and fields are errors instead of warnings.
    pub(super) strict: bool,
}

/// What reads a value returns `None` if the key is not set, and also if its value is wrong, which
/// is added to the faults.
impl<'a> Reader<'a> {
    /// Returns a reader that has noticed nothing but `faults` so far.
    pub(super) fn new(
        sources: &'a [Source<'a>],
        settings: &'a [Setting],
        faults: Faults,
        strict: bool,
    ) -> Self {
        Self { sources, settings, warnings: Vec::new(), faults, strict }
    }

    pub(super) fn find(&self, key: &str) -> Option<&'a Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// Returns the text of a key whose value is a number or a string, without a fault if it is a list.
    pub(super) fn peek(&self, key: &str) -> Option<&'a str> {
        match &self.find(key)?.value.kind {
            Kind::Atom(Atom { text, .. }) => Some(text),
            Kind::List(_) => None,
        }
    }

    /// Returns the text of a key whose value is a number or a string, and the value.
    pub(super) fn text(&mut self, key: &'static str) -> Option<(&'a str, &'a Value)> {
        let Setting { value, .. } = self.find(key)?;
        match &value.kind {
            Kind::Atom(Atom { text, .. }) => Some((text, value)),
            Kind::List(_) => {
                let wanted = "a number or a string";
                let problem = ConfigProblem::Type { key, wanted, found: value.kind_name() };
                self.refuse(key, value.span, problem);
                None
            }
        }
    }

    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        match self.text(key)? {
            ("", value) => {
                self.refuse(key, value.span, ConfigProblem::Empty { key });
                None
            }
            (text, _) => Some(PathBuf::from(text)),
        }
    }

    pub(super) fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<(u32, SourceSpan)> {
        let (text, value) = self.text(key)?;
        let number = parse_range(key, text, range);
        Some((self.value(key, value, number)?, value.span))
    }

    pub(super) fn memory(&mut self, key: &'static str) -> Option<(KiB, SourceSpan)> {
        let (text, value) = self.text(key)?;
        let memory = parse_memory(text).map_err(|error| ConfigProblem::Memory {
            key,
            text: text.to_owned(),
            error,
        });
        Some((self.value(key, value, memory)?, value.span))
    }

    pub(super) fn action(&mut self, key: &'static str, default: Action) -> Action {
        self.optional_action(key).unwrap_or(default)
    }

    pub(super) fn optional_action(&mut self, key: &'static str) -> Option<Action> {
        let (text, value) = self.text(key)?;
        let action = text.parse().map_err(|error| ConfigProblem::Action { key, error });
        self.value(key, value, action)
    }

    /// Returns the parsed value of a key, or adds what is wrong with it to the faults.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        value: &Value,
        parsed: Result<T, ConfigProblem>,
    ) -> Option<T> {
        parsed.map_err(|problem| self.refuse(key, value.span, problem)).ok()
    }

    pub(super) fn warn(&mut self, span: SourceSpan, kind: WarningKind) {
        self.warnings
            .push(ConfigWarning { position: SourcePosition::new(self.sources, span), kind });
    }

    /// Adds a fault because of which the value of a key is not known.
    pub(super) fn refuse(&mut self, key: &'static str, span: SourceSpan, problem: ConfigProblem) {
        self.faults.add_for(key, Fault { span, problem });
    }
}
