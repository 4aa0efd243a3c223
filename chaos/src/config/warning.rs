//! What a config most likely has by mistake.

use thiserror::Error;

use super::source::SourcePosition;
use super::spelling::did_you_mean;

/// Something in a config that is most likely a mistake.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {kind}")]
pub struct ConfigWarning {
    /// Where.
    pub place: SourcePosition,
    /// What.
    pub kind: WarningKind,
}

/// What a [`ConfigWarning`] is about.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WarningKind {
    /// An unknown key.
    #[error("unknown key '{key}' is ignored{}", did_you_mean(*nearest))]
    UnknownKey {
        /// The key.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// No `type=`.
    #[error("type is missing: chaos creates a \"pvh\" guest, xl a \"pv\" one; add type = \"pvh\"")]
    NoType,
    /// A `builder=` beside `type=`.
    #[error(
        "builder has no effect beside type, whose old form it is; remove it, for xl refuses it beside \
         type = \"pvh\""
    )]
    Builder,
    /// `root=` or `extra=` beside `cmdline=`.
    #[error("{key} has no effect beside cmdline; remove one of them")]
    Overridden {
        /// The key.
        key: &'static str,
    },
    /// A field of a vif without effect.
    #[error("vif field {field} has no effect, as in xl; remove it")]
    VifNoEffect {
        /// The field.
        field: &'static str,
    },
}
