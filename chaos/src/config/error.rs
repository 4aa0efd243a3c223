//! What can be wrong with a config.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::MAX_SIZE;
use super::action::UnknownAction;
use super::ip::IpError;
use super::keys::WhyNot;
use super::memory::MemoryError;
use super::name::NameError;
use super::rate::RateError;
use super::source::{Place, Source, Span};

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
    /// The file is larger than any config.
    #[error("{} is no config: it has more than {} KiB", path.display(), MAX_SIZE >> 10)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is no text.
    #[error("{}:{line}: not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line where it stops being text, counted from 1.
        line: usize,
    },
    /// Something is missing.
    #[error("{file}: {key}= is missing: {why}")]
    Missing {
        /// The file.
        file: String,
        /// The key.
        key: &'static str,
        /// Why it is needed.
        why: &'static str,
    },
    /// Something in it is wrong.
    #[error("{place}: {problem}\n{}", place.excerpt())]
    Wrong {
        /// Where.
        place: Box<Place>,
        /// What.
        problem: Box<Problem>,
    },
}

/// What is wrong at a place in a config.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// A character that begins nothing.
    #[error("found {0:?}, which begins no word, number, string or sign of this language{hint}",
        hint = character_hint(*.0))]
    Character(char),
    /// A string that is not closed on its line.
    #[error("this string has no closing {quote} on its line")]
    OpenString {
        /// The quote it began with.
        quote: char,
    },
    /// A string that is no text once its escapes are replaced.
    #[error("this string is not UTF-8 text")]
    StringNotUtf8,
    /// A string with a zero byte, where xl would silently end it.
    #[error("a string cannot contain a zero byte")]
    ZeroByte,
    /// An unknown escape.
    #[error(
        "unknown escape; known are \\\\ \\\" \\' \\a \\b \\f \\n \\r \\t \\v, \\x and two \
         hexadecimal digits, or one to three octal digits up to \\377"
    )]
    Escape,
    /// Something else was expected.
    #[error("found {found}, expected {expected}{hint}",
        hint = if *unquoted { "; a string needs quotes" } else { "" })]
    Syntax {
        /// What is there.
        found: String,
        /// What should be there.
        expected: &'static str,
        /// Whether it is a word where a value belongs.
        unquoted: bool,
    },
    /// Lists in lists in lists.
    #[error("lists are nested more than {most} deep")]
    TooDeep {
        /// The deepest nesting.
        most: usize,
    },
    /// A list that is not closed.
    #[error("this list has no closing ']'")]
    OpenList,
    /// `+=` with values that cannot be added.
    #[error("cannot add {what} to {to}; strings are added to strings, lists to lists")]
    Add {
        /// What is added.
        what: &'static str,
        /// What it is added to.
        to: &'static str,
    },
    /// A key that nobody knows.
    #[error("unknown key '{key}'{}", did_you_mean(*nearest))]
    UnknownKey {
        /// The key.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// A key of xl that is not served.
    #[error("{key}= is not served: {why}; remove the line")]
    KeyNotServed {
        /// The key.
        key: &'static str,
        /// Why.
        why: WhyNot,
    },
    /// A value of xl that is not served.
    #[error("{key}={value:?} is not served: {why}")]
    ValueNotServed {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// Why.
        why: &'static str,
    },
    /// A list where there should be none, or the reverse.
    #[error("{key}= wants {wanted}, not {found}")]
    Type {
        /// The key.
        key: &'static str,
        /// What it should be.
        wanted: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// No number.
    #[error("{key}= wants a number, and {text:?} is none")]
    NotANumber {
        /// The key.
        key: &'static str,
        /// The value.
        text: String,
    },
    /// A number that is too small or too large.
    #[error("{key}={value} is not possible; {least} to {most} are")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// The value.
        value: u64,
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// A value that should not be empty.
    #[error("{key}= is empty")]
    Empty {
        /// The key.
        key: &'static str,
    },
    /// `name=`
    #[error("name={name:?} is not possible: {error}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// `memory=` or `maxmem=`
    #[error("{key}={text:?} is not possible: {error}")]
    Memory {
        /// The key.
        key: &'static str,
        /// The value.
        text: String,
        /// What is wrong with it.
        error: MemoryError,
    },
    /// `maxmem=` or `maxvcpus=` differs from `memory=` or `vcpus=`.
    #[error(
        "{key}= differs from {of}=: a guest that grows or shrinks is not served; remove {key}="
    )]
    Differs {
        /// The key.
        key: &'static str,
        /// The key it should equal.
        of: &'static str,
    },
    /// `type=` or `builder=`
    #[error("{key}={text:?} is no kind of guest; \"pvh\" is served")]
    GuestType {
        /// The key.
        key: &'static str,
        /// The value.
        text: String,
    },
    /// `store=`
    #[error("store={text:?} is no store; \"noxs\" and \"xenstore\" are")]
    Store {
        /// The value.
        text: String,
    },
    /// A key that XenStore mode serves.
    #[error("{key}= is served with store=\"xenstore\" only; add that line, or remove this one")]
    XenStoreOnly {
        /// The key.
        key: &'static str,
    },
    /// A string of `disk=`.
    #[error("disk {text:?}: {why}")]
    Disk {
        /// The string.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// More disks than are served.
    #[error("more than {most} disks are not served")]
    TooManyDisks {
        /// How many are served.
        most: usize,
    },
    /// Two disks under one name.
    #[error("two disks are called {vdev:?}, or by names that stand for the same number")]
    DiskTwice {
        /// The name.
        vdev: String,
    },
    /// An `on_…=` key.
    #[error("{key}: {error}")]
    Action {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        error: UnknownAction,
    },
    /// More vifs than are served.
    #[error("more than {most} vif is not served yet")]
    TooManyVifs {
        /// How many are served.
        most: usize,
    },
    /// A field of a vif without a value.
    #[error("a field of a vif is name=value, which {field:?} is not")]
    VifNoValue {
        /// The field.
        field: String,
    },
    /// A field that vifs do not have.
    #[error("a vif has no field '{field}'{}", did_you_mean(*nearest))]
    VifUnknownField {
        /// The field.
        field: String,
        /// The known field that looks most like it.
        nearest: Option<&'static str>,
    },
    /// A field of xl that is not served.
    #[error("the field {field}= of a vif is not served: {why}")]
    VifFieldNotServed {
        /// The field.
        field: &'static str,
        /// Why.
        why: &'static str,
    },
    /// A MAC address.
    #[error("mac={text}: {why}")]
    VifMac {
        /// The value.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A bridge's name.
    #[error(
        "bridge={text:?} is no name of a bridge: 1 to 15 bytes without '/', ':' and blanks are \
         wanted"
    )]
    VifBridge {
        /// The value.
        text: String,
    },
    /// An IP address.
    #[error("ip={text}: {error}")]
    VifIp {
        /// The value.
        text: String,
        /// What is wrong with it.
        error: IpError,
    },
    /// A rate.
    #[error("rate={text}: {error}")]
    VifRate {
        /// The value.
        text: String,
        /// What is wrong with it.
        error: RateError,
    },
}

/// Something in a config that is most likely not what its writer wants.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {kind}")]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: WarningKind,
}

/// What a [`Warning`] is about.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WarningKind {
    /// A key that nobody knows.
    #[error("unknown key '{key}' is ignored{}", did_you_mean(*nearest))]
    UnknownKey {
        /// The key.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// No `type=`.
    #[error("no type=: the guest is made as \"pvh\", while xl would make it as \"pv\"")]
    NoType,
    /// A `builder=` beside `type=`.
    #[error(
        "builder= is an old form of type= and has no effect; xl refuses it beside type=\"pvh\""
    )]
    Builder,
    /// `root=` or `extra=` beside `cmdline=`.
    #[error("{key}= has no effect beside cmdline=")]
    Overridden {
        /// The key.
        key: &'static str,
    },
    /// A field of a vif without effect.
    #[error("the field {field}= of a vif has no effect, in xl neither")]
    VifNoEffect {
        /// The field.
        field: &'static str,
    },
}

/// A problem and where it is, before the place is made readable.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: Span,
    pub(super) problem: Problem,
}

impl Fault {
    pub(super) fn into_error(self, sources: &[Source<'_>]) -> ConfigError {
        ConfigError::Wrong {
            place: Box::new(Place::new(sources, self.span)),
            problem: Box::new(self.problem),
        }
    }
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean '{nearest}'?"))
}

fn character_hint(c: char) -> &'static str {
    match c {
        'A'..='Z' => "; keys are written in lower case, and a string needs quotes",
        '-' | '+' => "; numbers have no sign, and a string needs quotes",
        '(' | ')' | ':' | '.' => "; a config is no Python program",
        _ => "",
    }
}
