// SPDX-License-Identifier: GPL-3.0-or-later
//! What can be wrong in a config.

use thiserror::Error;

use super::action::UnknownAction;
use super::disk::DiskProblem;
use super::keys::WhyNot;
use super::memory::MemoryError;
use super::name::NameError;
use super::spelling::did_you_mean;
use super::vif_problem::VifProblem;
use crate::cpu_list::CpuListError;

/// What is wrong at a position in a config. Messages say the value, the limit, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigProblem {
    /// No token begins with the character.
    #[error("unexpected {0:?}; expected a key, a number, a string or a list{hint}",
        hint = character_hint(*.0))]
    Character(char),
    /// A string has no closing quote on its line.
    #[error("unterminated string: add {quote} before the end of the line")]
    OpenString {
        /// Its opening quote.
        quote: char,
    },
    /// A string is not UTF-8 text once its escapes are replaced.
    #[error("a string must be UTF-8 text")]
    StringNotUtf8,
    /// A string contains a zero byte, at which xl would silently cut it.
    #[error("a string must not contain a zero byte")]
    ZeroByte,
    /// An escape is unknown.
    #[error(
        "unknown escape; expected \\\\ \\\" \\' \\a \\b \\f \\n \\r \\t \\v, \\x and two \
         hexadecimal digits, or one to three octal digits up to \\377"
    )]
    Escape,
    /// A token is not allowed here.
    #[error("unexpected {found}; expected {expected}{hint}",
        hint = if *unquoted { "; a string needs quotes" } else { "" })]
    Syntax {
        /// The token.
        found: String,
        /// What is allowed.
        expected: &'static str,
        /// Whether it is a name where a value is expected, so that quotes may be missing.
        unquoted: bool,
    },
    /// Lists are nested too deeply.
    #[error("lists must be nested at most {most} deep")]
    TooDeep {
        /// The deepest nesting.
        most: usize,
    },
    /// A list has no closing bracket.
    #[error("unterminated list: add ']'")]
    OpenList,
    /// `+=` cannot add these values.
    #[error("cannot add {what} to {to}: += adds a string to a string, or a list to a list")]
    Add {
        /// What is added.
        what: &'static str,
        /// What it is added to.
        to: &'static str,
    },
    /// A key is unknown.
    #[error("unknown key '{key}'{}", did_you_mean(*nearest))]
    UnknownKey {
        /// The key.
        key: String,
        /// The most similar known key.
        nearest: Option<&'static str>,
    },
    /// A key of xl is not supported.
    #[error("{key} is not supported: {why}")]
    KeyNotSupported {
        /// The key.
        key: &'static str,
        /// Why.
        why: WhyNot,
    },
    /// A value of xl is not supported.
    #[error("{key} = {value:?} is not supported: {why}")]
    ValueNotSupported {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// Why.
        why: &'static str,
    },
    /// A list is where a number or a string is expected, or the reverse.
    #[error("{key}: must be {wanted}, not {found}")]
    Type {
        /// The key.
        key: &'static str,
        /// What it should be.
        wanted: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A value is not a number.
    #[error("{key} = {text:?}: must be a number")]
    NotANumber {
        /// The key.
        key: &'static str,
        /// The value.
        text: String,
    },
    /// A number is out of range.
    #[error("{key} = {text}: must be {}", range(*least, *most))]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// The value as written.
        text: String,
        /// The smallest valid number.
        least: u32,
        /// The largest valid number.
        most: u32,
    },
    /// A value is empty.
    #[error("{key} = \"\": must not be empty")]
    Empty {
        /// The key.
        key: &'static str,
    },
    /// `name=` is invalid.
    #[error("name = {name:?}: {error}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// The command line is too long.
    #[error("{key}: the command line has {length} bytes: must be at most {most}; shorten it")]
    CommandLine {
        /// The key with its last part.
        key: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The longest.
        most: usize,
    },
    /// `memory=` or `maxmem=` is invalid.
    #[error("{key} = {text:?}: {error}")]
    Memory {
        /// The key.
        key: &'static str,
        /// The value.
        text: String,
        /// What is wrong with it.
        error: MemoryError,
    },
    /// `maxmem=` or `maxvcpus=` is less than `memory=` or `vcpus=`.
    #[error("{key}: must be at least {of}; raise it, or remove {key}")]
    Less {
        /// The key.
        key: &'static str,
        /// The key that limits it.
        of: &'static str,
    },
    /// `uuid=` is invalid.
    #[error(
        "uuid = {text:?}: must be a UUID such as \"01234567-89ab-cdef-0123-456789abcdef\", not all zeros"
    )]
    Uuid {
        /// The value.
        text: String,
    },
    /// `cpus=` or `cpus_soft=` is invalid.
    #[error("{key}: {error}")]
    CpuList {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        error: CpuListError,
    },
    /// A value is none of those that there are.
    #[error("{key} = {text:?}: must be one of {}", names.join(", "))]
    NoSuchValue {
        /// The key.
        key: &'static str,
        /// The value.
        text: String,
        /// The values that there are.
        names: Vec<&'static str>,
    },
    /// `rtc_timeoffset=` is invalid.
    #[error(
        "rtc_timeoffset = {text:?}: must be a number of seconds from -2147483648 to 2147483647"
    )]
    TimeOffset {
        /// The value.
        text: String,
    },
    /// There is a `bootloader=` and no disk.
    #[error(
        "bootloader: it looks for the kernel on the guest's first disk, and there is none; add one with \
         disk=, or name a kernel with kernel= instead"
    )]
    NoBootDisk,
    /// `store=` is not one that the guest can use.
    #[error(
        "store: {what} finds its devices in XenStore; write store = \"xenstore\", or remove store"
    )]
    NeedsXenStore {
        /// What the guest is.
        what: &'static str,
    },
    /// `type=` or `builder=` is invalid.
    #[error("{key} = {text:?}: must be {}", guest_types(key, text))]
    GuestType {
        /// The key.
        key: &'static str,
        /// The value.
        text: String,
    },
    /// `store=` is invalid.
    #[error("store = {text:?}: must be \"noxs\" or \"xenstore\"")]
    Store {
        /// The value.
        text: String,
    },
    /// A string of `disk=` is invalid.
    #[error("disk {text:?}: {problem}")]
    Disk {
        /// The string.
        text: String,
        /// What is wrong with it.
        problem: DiskProblem,
    },
    /// There are too many disks.
    #[error(
        "disk: a guest can have at most {most} devices, so {room} disks beside its {others} other \
         devices; remove some"
    )]
    TooManyDisks {
        /// How many there can be.
        room: usize,
        /// How many other devices there are: the console and the vifs.
        others: usize,
        /// How many devices there can be in all.
        most: usize,
    },
    /// Two disks have the same name, or names with the same number.
    #[error("disk {vdev:?}: another disk has this name, or a name with the same number")]
    DiskTwice {
        /// The name.
        vdev: String,
    },
    /// `on_poweroff=` or another action is invalid.
    #[error("{key} = {error}")]
    Action {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        error: UnknownAction,
    },
    /// `vif=` is invalid.
    #[error(transparent)]
    Vif(#[from] VifProblem),
}

/// Returns the valid values of `type=` or `builder=`, and what to write.
fn guest_types(key: &str, text: &str) -> &'static str {
    match (key, text) {
        ("builder", "pv") => "\"generic\"; write type = \"pv\" instead",
        ("builder", _) => "\"generic\"; write type = \"pvh\" instead",
        _ => "\"pvh\" or \"pv\"; write type = \"pvh\"",
    }
}

fn range(least: u32, most: u32) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

fn character_hint(c: char) -> &'static str {
    match c {
        'A'..='Z' => "; keys are lower case, and a string needs quotes",
        '-' | '+' => "; numbers have no sign, and a string needs quotes",
        '(' | ')' | ':' | '.' => {
            "; a string needs quotes, and Python expressions are not supported"
        }
        _ => "",
    }
}
