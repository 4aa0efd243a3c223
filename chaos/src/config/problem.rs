//! What can be wrong at a place in a config.

use thiserror::Error;

use super::action::UnknownAction;
use super::disk::DiskProblem;
use super::keys::WhyNot;
use super::memory::MemoryError;
use super::name::NameError;
use super::spelling::did_you_mean;
use super::vif_problem::VifProblem;

/// What is wrong at a place in a config: the value, the limit, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigProblem {
    /// A character that no token begins with.
    #[error("unexpected {0:?}; expected a key, a number, a string or a list{hint}",
        hint = character_hint(*.0))]
    Character(char),
    /// A string that is not closed on its line.
    #[error("unterminated string: add {quote} before the end of the line")]
    OpenString {
        /// The quote it begins with.
        quote: char,
    },
    /// A string that is not text once its escapes are replaced.
    #[error("a string must be UTF-8 text")]
    StringNotUtf8,
    /// A string with a zero byte, where xl would silently end it.
    #[error("a string must not contain a zero byte")]
    ZeroByte,
    /// An unknown escape.
    #[error(
        "unknown escape; expected \\\\ \\\" \\' \\a \\b \\f \\n \\r \\t \\v, \\x and two \
         hexadecimal digits, or one to three octal digits up to \\377"
    )]
    Escape,
    /// A token that does not belong here.
    #[error("unexpected {found}; expected {expected}{hint}",
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
    #[error("lists must be nested at most {most} deep")]
    TooDeep {
        /// The deepest nesting.
        most: usize,
    },
    /// A list that is not closed.
    #[error("unterminated list: add ']'")]
    OpenList,
    /// `+=` with values that cannot be added.
    #[error("cannot add {what} to {to}: += adds a string to a string, or a list to a list")]
    Add {
        /// What is added.
        what: &'static str,
        /// What it is added to.
        to: &'static str,
    },
    /// An unknown key.
    #[error("unknown key '{key}'{}", did_you_mean(*nearest))]
    UnknownKey {
        /// The key.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// A key of xl that is not supported.
    #[error("{key} is not supported: {why}; remove the line")]
    KeyNotSupported {
        /// The key.
        key: &'static str,
        /// Why.
        why: WhyNot,
    },
    /// A value of xl that is not supported.
    #[error("{key} = {value:?} is not supported: {why}")]
    ValueNotSupported {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// Why.
        why: &'static str,
    },
    /// A list where there should be none, or the reverse.
    #[error("{key}: must be {wanted}, not {found}")]
    Type {
        /// The key.
        key: &'static str,
        /// What it should be.
        wanted: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// Not a number.
    #[error("{key} = {text:?}: must be a number")]
    NotANumber {
        /// The key.
        key: &'static str,
        /// The value.
        text: String,
    },
    /// A number that is too small or too large.
    #[error("{key} = {text}: must be {}", range(*least, *most))]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// The value as it is written.
        text: String,
        /// The smallest.
        least: u16,
        /// The largest.
        most: u16,
    },
    /// A value that must not be empty.
    #[error("{key} = \"\": must not be empty")]
    Empty {
        /// The key.
        key: &'static str,
    },
    /// `name=`
    #[error("name = {name:?}: {error}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// `memory=` or `maxmem=`
    #[error("{key} = {text:?}: {error}")]
    Memory {
        /// The key.
        key: &'static str,
        /// The value.
        text: String,
        /// What is wrong with it.
        error: MemoryError,
    },
    /// `maxmem=` or `maxvcpus=` differs from `memory=` or `vcpus=`.
    #[error("{key}: must equal {of}, since a guest cannot grow or shrink; remove {key}")]
    Differs {
        /// The key.
        key: &'static str,
        /// The key it must equal.
        of: &'static str,
    },
    /// `type=` or `builder=`
    #[error("{key} = {text:?}: must be \"pvh\"; write type = \"pvh\"")]
    GuestType {
        /// The key.
        key: &'static str,
        /// The value.
        text: String,
    },
    /// `store=`
    #[error("store = {text:?}: must be \"noxs\" or \"xenstore\"")]
    Store {
        /// The value.
        text: String,
    },
    /// A key that is only supported in XenStore mode.
    #[error("{key} needs store = \"xenstore\"; add that line, or remove {key}")]
    XenStoreOnly {
        /// The key.
        key: &'static str,
    },
    /// A string of `disk=`.
    #[error("disk {text:?}: {problem}")]
    Disk {
        /// The string.
        text: String,
        /// What is wrong with it.
        problem: DiskProblem,
    },
    /// Too many disks.
    #[error("disk: a guest can have at most {most} disks")]
    TooManyDisks {
        /// How many are supported.
        most: usize,
    },
    /// Two disks with one name.
    #[error("disk {vdev:?}: another disk has this name, or one that stands for the same number")]
    DiskTwice {
        /// The name.
        vdev: String,
    },
    /// An `on_…=` key.
    #[error("{key} = {error}")]
    Action {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        error: UnknownAction,
    },
    /// `vif=`
    #[error(transparent)]
    Vif(#[from] VifProblem),
}

fn range(least: u16, most: u16) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

fn character_hint(c: char) -> &'static str {
    match c {
        'A'..='Z' => "; keys are lower case, and a string needs quotes",
        '-' | '+' => "; numbers have no sign, and a string needs quotes",
        '(' | ')' | ':' | '.' => "; a config is not a Python program",
        _ => "",
    }
}
