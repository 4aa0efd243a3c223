// SPDX-License-Identifier: GPL-3.0-or-later
//! What can be wrong with a vif.

use thiserror::Error;

use super::ip::IpError;
use super::rate::RateError;
use super::spelling::did_you_mean;
use super::vif::MIN_MTU_IPV6;

/// What is wrong with `vif=`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VifProblem {
    /// There are too many vifs.
    #[error("vif: a guest can have at most {most} vifs; remove this one and those after it")]
    TooMany {
        /// How many are supported.
        most: usize,
    },
    /// A field has no value.
    #[error("vif field {field:?}: must be name=value")]
    NoValue {
        /// The field.
        field: String,
    },
    /// A field is unknown.
    #[error("unknown vif field '{field}'{}", did_you_mean(*nearest))]
    UnknownField {
        /// The field.
        field: String,
        /// The most similar known field.
        nearest: Option<&'static str>,
    },
    /// A field of xl is not supported.
    #[error("vif field {field} is not supported: {why}")]
    FieldNotSupported {
        /// The field.
        field: &'static str,
        /// Why.
        why: &'static str,
    },
    /// The MAC address is invalid.
    #[error("mac = {text}: {why}")]
    Mac {
        /// The value.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The bridge's name is invalid.
    #[error(
        "bridge = {text:?}: must be the name of a bridge: 1 to 15 bytes without '/', ':' and blanks"
    )]
    Bridge {
        /// The value.
        text: String,
    },
    /// The script's path is invalid.
    #[error(
        "script = {text:?}: must be 1 to 512 bytes with its folder, without control characters"
    )]
    Script {
        /// The value.
        text: String,
    },
    /// A script cannot get the text.
    #[error("ip = {text:?}: must be 1 to 512 bytes without control characters, for the script")]
    ScriptIp {
        /// The value.
        text: String,
    },
    /// The name is invalid.
    #[error(
        "vifname = {text:?}: must be a name for an interface: 1 to 15 bytes without '/', ':', '%' and \
         blanks"
    )]
    Name {
        /// The value.
        text: String,
    },
    /// Another vif of the guest has the name.
    #[error("vifname = {text:?}: vif{other} has this name already; choose another")]
    NameTaken {
        /// The value.
        text: String,
        /// The number of the vif that has it.
        other: usize,
    },
    /// IPv6 needs a larger MTU.
    #[error("mtu = {mtu}: must be at least {MIN_MTU_IPV6} for a vif with an IPv6 address")]
    MtuIpv6 {
        /// The MTU.
        mtu: u16,
    },
    /// The IP address is invalid.
    #[error("ip = {text}: {error}")]
    Ip {
        /// The value.
        text: String,
        /// What is wrong with it.
        error: IpError,
    },
    /// The rate is invalid.
    #[error("rate = {text}: {error}")]
    Rate {
        /// The value.
        text: String,
        /// What is wrong with it.
        error: RateError,
    },
}
