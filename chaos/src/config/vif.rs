//! The strings of `vif=` (xl-network-configuration(5)).

use std::ops::RangeInclusive;

use noxs::{Ipv4Config, MacAddr};
use noxs_control::Rate;

use super::error::Fault;
use super::ip::parse_ip;
use super::keys::nearest;
use super::memory::{NumberError, parse_number};
use super::problem::ConfigProblem;
use super::rate::parse_rate;
use super::source::{Source, SourcePosition, SourceSpan};
use super::value::{Atom, Kind, Value};
use super::warning::{ConfigWarning, WarningKind};

/// Most vifs of a guest.
pub const MAX_VIFS: usize = 1;

/// Bridge of a vif that names none.
pub const DEFAULT_BRIDGE: &str = "xenbr0";

/// Largest IP packet of a vif that says nothing about it, in bytes.
pub const DEFAULT_MTU: u16 = 1500;

/// Possible values of `mtu=` in bytes: what each IPv4 interface must carry (RFC 791), and what the
/// switch carries.
pub const MTU: RangeInclusive<u16> = 68..=DEFAULT_MTU;

/// Longest name of an interface in Linux, in bytes (`IFNAMSIZ` less its zero byte).
const MAX_INTERFACE_NAME: usize = 15;

/// A network interface of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VifConfig {
    /// Its MAC address; `None` leaves the choice to chaos.
    pub mac: Option<MacAddr>,
    /// The bridge whose switch it is on.
    pub bridge: String,
    /// The address the guest is given, and the only one it may send from.
    pub ip: Option<Ipv4Config>,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// How much the guest may send, if that is limited.
    pub rate: Option<Rate>,
}

impl Default for VifConfig {
    fn default() -> Self {
        Self {
            mac: None,
            bridge: DEFAULT_BRIDGE.to_owned(),
            ip: None,
            mtu: DEFAULT_MTU,
            rate: None,
        }
    }
}

/// Fields that are supported.
const SUPPORTED: &[&str] =
    &["bridge", "devid", "ip", "mac", "mtu", "rate", "script", "trusted", "type"];

/// Fields of xl that are not, and why.
const NOT_SUPPORTED: &[(&str, &str)] = &[
    ("backend", "noxsd serves vifs in dom0 only"),
    ("forwarddev", "chaos has no COLO replication"),
    ("gatewaydev", "chaos connects vifs to bridges only"),
    ("model", "a PVH guest has no emulated network card"),
    ("netdev", "chaos connects vifs to bridges only"),
    ("vifname", "a vif is a port of noxsd's switch, not an interface of dom0"),
    ("vlan", "chaos has no VLANs yet"),
];

/// Begins the names of 43 more fields.
const COLO: &str = "colo_";

/// Reads one string of `vif=`.
pub(super) fn parse_vif(
    value: &Value,
    sources: &[Source<'_>],
    warnings: &mut Vec<ConfigWarning>,
) -> Result<VifConfig, Fault> {
    let Kind::Atom(Atom { text, .. }) = &value.kind else {
        let wanted = "a list of strings, such as ['bridge=xenbr0']";
        let problem = ConfigProblem::Type { key: "vif", wanted, found: "a list in a list" };
        return Err(Fault { span: value.span, problem });
    };
    let mut vif = VifConfig::default();
    let mut start = 0;
    for field in text.split(',') {
        let first = start + field.len() - field.trim_start_matches(' ').len();
        let trimmed = field.trim_matches(' ');
        let field = Field {
            text: trimmed,
            span: value.part(first, first + trimmed.len()),
            whole: value,
            start: first,
        };
        if let Some(no_effect) = field.apply(&mut vif)? {
            let place = SourcePosition::new(sources, field.span);
            let kind = WarningKind::VifNoEffect { field: no_effect };
            warnings.push(ConfigWarning { place, kind });
        }
        start += text[start..].find(',').map_or(0, |comma| comma + 1);
    }
    Ok(vif)
}

/// One field of a vif.
struct Field<'a> {
    text: &'a str,
    span: SourceSpan,
    whole: &'a Value,
    /// Where it is in the whole string.
    start: usize,
}

impl Field<'_> {
    /// Puts what the field says into `vif`; gives its name if it says nothing.
    fn apply(&self, vif: &mut VifConfig) -> Result<Option<&'static str>, Fault> {
        if self.text.is_empty() {
            return Ok(None);
        }
        let Some((name, value)) = self.text.split_once('=') else {
            return self.flag().map(|()| None);
        };
        // Only the value is marked from here on.
        let at = self.start + name.len() + 1;
        let span = self.whole.part(at, at + value.len());
        let fault = |problem| Fault { span, problem };
        match name {
            "mac" => vif.mac = Some(parse_mac(value).map_err(fault)?),
            "bridge" => vif.bridge = parse_bridge(value).map_err(fault)?,
            "ip" => {
                let text = value.to_owned();
                vif.ip = Some(
                    parse_ip(value).map_err(|error| fault(ConfigProblem::VifIp { text, error }))?,
                );
            }
            "rate" => {
                let text = value.to_owned();
                vif.rate = Some(
                    parse_rate(value)
                        .map_err(|error| fault(ConfigProblem::VifRate { text, error }))?,
                );
            }
            "mtu" => {
                vif.mtu = parse_range("mtu", value, MTU).map_err(fault)?;
            }
            "devid" => {
                parse_range("devid", value, 0..=0).map_err(fault)?;
            }
            "type" => match value {
                "vif" => {}
                "ioemu" => {
                    let why = "a PVH guest has no emulated network card";
                    return Err(fault(not_supported("type", value, why)));
                }
                _ => return Err(fault(not_supported("type", value, "it must be \"vif\""))),
            },
            "script" => {
                if !matches!(value, "" | "vif-bridge") {
                    let why = "noxsd's switch needs no script; it does what \"vif-bridge\" does";
                    return Err(fault(not_supported("script", value, why)));
                }
            }
            "backend" if matches!(value, "0" | "Domain-0") => {}
            "accel" => return Ok(Some("accel")),
            _ => return Err(self.unknown(name)),
        }
        Ok(None)
    }

    /// A field without a value.
    fn flag(&self) -> Result<(), Fault> {
        match self.text {
            "trusted" => Ok(()),
            "untrusted" => Err(self.not_supported(
                "untrusted",
                "the device page cannot tell the guest not to trust its backend",
            )),
            field => Err(Fault {
                span: self.span,
                problem: ConfigProblem::VifNoValue { field: field.to_owned() },
            }),
        }
    }

    fn unknown(&self, name: &str) -> Fault {
        if let Some((field, why)) = NOT_SUPPORTED.iter().find(|(field, _)| *field == name) {
            return self.not_supported(field, why);
        }
        if name.starts_with(COLO) {
            return self.not_supported("colo_…", "chaos has no COLO replication");
        }
        let known = SUPPORTED.iter().chain(NOT_SUPPORTED.iter().map(|(field, _)| field)).copied();
        let problem = ConfigProblem::VifUnknownField {
            field: name.to_owned(),
            nearest: nearest(name, known),
        };
        Fault { span: self.span, problem }
    }

    fn not_supported(&self, field: &'static str, why: &'static str) -> Fault {
        Fault { span: self.span, problem: ConfigProblem::VifFieldNotSupported { field, why } }
    }
}

fn not_supported(key: &'static str, value: &str, why: &'static str) -> ConfigProblem {
    ConfigProblem::ValueNotSupported { key, value: value.to_owned(), why }
}

fn parse_mac(text: &str) -> Result<MacAddr, ConfigProblem> {
    let wrong = |why| ConfigProblem::VifMac { text: text.to_owned(), why };
    let mac: MacAddr = text
        .parse()
        .map_err(|_| wrong("must be six pairs of hexadecimal digits, such as 00:16:3e:00:00:01"))?;
    check_mac(mac).map_err(wrong)?;
    Ok(mac)
}

/// Checks that an interface may have the address; otherwise returns why not.
///
/// # Errors
/// It is a multicast address, or all zero.
pub fn check_mac(mac: MacAddr) -> Result<(), &'static str> {
    if mac.is_multicast() {
        return Err("must not be a multicast address: its first byte must be even");
    }
    if mac.0 == [0; 6] {
        return Err("must not be all zeroes");
    }
    Ok(())
}

fn parse_bridge(text: &str) -> Result<String, ConfigProblem> {
    if is_bridge_name(text) {
        Ok(text.to_owned())
    } else {
        Err(ConfigProblem::VifBridge { text: text.to_owned() })
    }
}

/// Whether Linux takes the text as the name of an interface (`dev_valid_name`).
#[must_use]
pub fn is_bridge_name(text: &str) -> bool {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    !text.is_empty()
        && text.len() <= MAX_INTERFACE_NAME
        && !matches!(text, "." | "..")
        && !text.contains(bad)
}

/// Parses a number in a range.
///
/// # Errors
/// It is not a number, or outside of the range.
pub(super) fn parse_range(
    key: &'static str,
    text: &str,
    range: RangeInclusive<u16>,
) -> Result<u16, ConfigProblem> {
    let number = match parse_number(text) {
        Ok(number) => u16::try_from(number).ok(),
        Err(NumberError::TooLarge) => None,
        Err(NumberError::Form) => {
            return Err(ConfigProblem::NotANumber { key, text: text.to_owned() });
        }
    };
    number.filter(|number| range.contains(number)).ok_or_else(|| ConfigProblem::OutOfRange {
        key,
        text: text.to_owned(),
        least: *range.start(),
        most: *range.end(),
    })
}
