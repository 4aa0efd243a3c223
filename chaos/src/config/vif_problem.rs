//! What can be wrong with a vif.

use thiserror::Error;

use super::ip::IpError;
use super::rate::RateError;
use super::spelling::did_you_mean;

/// What is wrong with `vif=`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VifProblem {
    /// Too many vifs.
    #[error("vif: a guest can have at most {most} vif")]
    TooMany {
        /// How many are supported.
        most: usize,
    },
    /// A field of a vif without a value.
    #[error("vif field {field:?}: must be name=value")]
    NoValue {
        /// The field.
        field: String,
    },
    /// An unknown field of a vif.
    #[error("unknown vif field '{field}'{}", did_you_mean(*nearest))]
    UnknownField {
        /// The field.
        field: String,
        /// The known field that looks most like it.
        nearest: Option<&'static str>,
    },
    /// A field of xl that is not supported.
    #[error("vif field {field} is not supported: {why}")]
    FieldNotSupported {
        /// The field.
        field: &'static str,
        /// Why.
        why: &'static str,
    },
    /// A MAC address.
    #[error("mac = {text}: {why}")]
    Mac {
        /// The value.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A bridge's name.
    #[error(
        "bridge = {text:?}: must be the name of a bridge: 1 to 15 bytes without '/', ':' and blanks"
    )]
    Bridge {
        /// The value.
        text: String,
    },
    /// An IP address.
    #[error("ip = {text}: {error}")]
    Ip {
        /// The value.
        text: String,
        /// What is wrong with it.
        error: IpError,
    },
    /// A rate.
    #[error("rate = {text}: {error}")]
    Rate {
        /// The value.
        text: String,
        /// What is wrong with it.
        error: RateError,
    },
}
