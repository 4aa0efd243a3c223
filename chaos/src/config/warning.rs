// SPDX-License-Identifier: GPL-3.0-or-later
//! What is most likely a mistake in a config.

use thiserror::Error;

use super::source::SourcePosition;
use super::spelling::did_you_mean;

/// A probable mistake in a config.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{position}: {kind}")]
pub struct ConfigWarning {
    /// Where.
    pub position: SourcePosition,
    /// What.
    pub kind: WarningKind,
}

/// The kinds of probable mistakes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WarningKind {
    /// A key is unknown.
    #[error("unknown key '{key}' is ignored{}", did_you_mean(*nearest))]
    UnknownKey {
        /// The key.
        key: String,
        /// The most similar known key.
        nearest: Option<&'static str>,
    },
    /// There are keys that have no effect.
    #[error("{} no effect on a PVH guest; remove {}", subject(keys), pronoun(keys))]
    NoEffect {
        /// The keys, in the order of the config.
        keys: Vec<&'static str>,
    },
    /// `type=` is missing.
    #[error(
        "type is missing: a kernel that can starts as \"pvh\", another one as \"pv\"; add type = \"pvh\" or \
         type = \"pv\""
    )]
    NoType,
    /// There is a `builder=` beside `type=`.
    #[error(
        "builder is the old name of type and has no effect beside it; remove it, because xl refuses \
         it together with type = \"pvh\""
    )]
    Builder,
    /// There is `root=` or `extra=` beside `cmdline=`.
    #[error("{key} has no effect beside cmdline; remove one of them")]
    Overridden {
        /// The key.
        key: &'static str,
    },
    /// There is a key of the bootloader, and no bootloader.
    #[error("{key} has no effect without bootloader; remove it, or add bootloader = \"pygrub\"")]
    NoBootloader {
        /// The key.
        key: &'static str,
    },
    /// A disk is a CD drive without a medium.
    #[error(
        "a CD drive without a medium has no effect: a PVH guest has no CD drive, into which a CD could be \
         inserted later; remove it, or name an image, which the guest has as a disk"
    )]
    EmptyDrive,
    /// The value of `console=` is not one of chaos.
    #[error(
        "this value of console is ignored, as in xl; here it is 1 or 0, whether the guest has a \
         console"
    )]
    Console,
    /// A field of a vif is unknown.
    #[error("unknown vif field '{field}' is ignored, as in xl{}", did_you_mean(*nearest))]
    UnknownVifField {
        /// The field.
        field: String,
        /// The most similar known field.
        nearest: Option<&'static str>,
    },
    /// A field of a vif has no effect.
    #[error("vif field {field} has no effect, as in xl; remove it")]
    VifNoEffect {
        /// The field.
        field: &'static str,
    },
}

fn subject(keys: &[&str]) -> String {
    match keys {
        [] => String::new(),
        [key] => format!("{key} has"),
        [first @ .., last] => format!("{} and {last} have", first.join(", ")),
    }
}

fn pronoun(keys: &[&str]) -> &'static str {
    if keys.len() == 1 { "it" } else { "them" }
}
