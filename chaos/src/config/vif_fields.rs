// SPDX-License-Identifier: GPL-3.0-or-later
//! The strings of `vif=` (xl-network-configuration(5)).

use noxs::MacAddr;

use super::error::Fault;
use super::ip::{IpConfig, parse_ip};
use super::problem::ConfigProblem;
use super::range::parse_range;
use super::rate::parse_rate;
use super::reader::Reader;
use super::source::SourceSpan;
use super::spelling::nearest;
use super::store::Backends;
use super::value::{Atom, Kind, Value};
use super::vif::{MIN_MTU_IPV6, MTU, VifConfig, check_mac, is_interface_name, is_vif_name};
use super::vif_problem::VifProblem;
use super::warning::WarningKind;

/// Fields that are supported.
const SUPPORTED: &[&str] = &[
    "bridge", "devid", "ip", "mac", "model", "mtu", "rate", "script", "trusted", "type", "vifname",
];

/// Fields of xl that are not supported, and why.
const NOT_SUPPORTED: &[(&str, &str)] = &[
    ("backend", "vifs are served in dom0 only"),
    ("forwarddev", "chaos has no COLO replication"),
    ("gatewaydev", "chaos connects vifs to bridges only"),
    ("netdev", "chaos connects vifs to bridges only"),
    ("vlan", VLAN),
];

const VLAN: &str = "chaos has no VLANs; create a bridge, add an interface of the VLAN to it, and name the bridge with bridge=";

/// Why it is not supported where dom0's kernel serves the vif.
const VIFNAME_OF_KERNEL: &str = "dom0's kernel names the interface vifDOMID.NUMBER; rename that one (ip link set vifDOMID.0 name NAME)";

/// Prefix of 43 more fields of xl.
const COLO: &str = "colo_";

/// Parses the string of `vif=` with this number. What is wrong with a field is added to the
/// reader's faults.
pub(super) fn parse_vif(
    reader: &mut Reader<'_>,
    value: &Value,
    number: u16,
    backends: Backends,
) -> VifConfig {
    let mut vif = VifConfig::default();
    let Kind::Atom(Atom { text, .. }) = &value.kind else {
        let wanted = "a list of strings, such as ['bridge=xenbr0']";
        let problem = ConfigProblem::Type { key: "vif", wanted, found: "a list in a list" };
        reader.refuse("vif", value.span, problem);
        return vif;
    };
    let mut start = 0;
    for field in text.split(',') {
        let first = start + field.len() - field.trim_start_matches(' ').len();
        let trimmed = field.trim_matches(' ');
        let field = Field {
            text: trimmed,
            span: value.part(first, first + trimmed.len()),
            whole: value,
            start: first,
            number,
            backends,
        };
        match field.apply(&mut vif) {
            Ok(None) => {}
            Ok(Some(no_effect)) => {
                reader.warn(field.span, WarningKind::VifNoEffect { field: no_effect });
            }
            Err(Fault { span, problem }) => reader.refuse("vif", span, problem),
        }
        start += text[start..].find(',').map_or(0, |comma| comma + 1);
    }
    if vif.ip6.is_some() && vif.mtu < MIN_MTU_IPV6 {
        reader.refuse("vif", value.span, VifProblem::MtuIpv6 { mtu: vif.mtu }.into());
    }
    vif
}

/// One field of a vif.
struct Field<'a> {
    text: &'a str,
    span: SourceSpan,
    whole: &'a Value,
    /// Its offset in the whole string, in bytes.
    start: usize,
    /// The vif's number.
    number: u16,
    /// What will serve the vif.
    backends: Backends,
}

impl Field<'_> {
    /// Applies the field to `vif`. Returns its name if it has no effect, as in xl.
    fn apply(&self, vif: &mut VifConfig) -> Result<Option<&'static str>, Fault> {
        if self.text.is_empty() {
            return Ok(None);
        }
        let Some((name, value)) = self.text.split_once('=') else {
            return self.flag().map(|()| None);
        };
        // From here on, messages point at the value. xl, too, accepts blanks before a MAC address.
        let at = self.start + self.text.len() - value.trim_start_matches(' ').len();
        let value = value.trim_start_matches(' ');
        let span = self.whole.part(at, at + value.len());
        let fault = |problem| Fault { span, problem };
        let wrong = |problem: VifProblem| fault(problem.into());
        match name {
            "mac" => vif.mac = Some(parse_mac(value).map_err(wrong)?),
            "bridge" => vif.bridge = parse_bridge(value).map_err(wrong)?,
            "ip" => {
                let text = value.to_owned();
                let IpConfig { ipv4, ipv6 } =
                    parse_ip(value).map_err(|error| wrong(VifProblem::Ip { text, error }))?;
                (vif.ip, vif.ip6) = (ipv4, ipv6);
            }
            "vifname" if self.backends == Backends::Dom0Kernel => {
                return Err(self.not_supported("vifname", VIFNAME_OF_KERNEL));
            }
            "vifname" => vif.name = Some(parse_name(value).map_err(wrong)?),
            "rate" => {
                let text = value.to_owned();
                vif.rate = Some(
                    parse_rate(value).map_err(|error| wrong(VifProblem::Rate { text, error }))?,
                );
            }
            "mtu" => {
                vif.mtu = parse_range("mtu", value, MTU).map_err(fault)?;
            }
            "devid" => {
                // xl's number of the device. Here it is the place in the list.
                parse_range("devid", value, self.number..=self.number).map_err(fault)?;
            }
            "type" => match value {
                "vif" => {}
                "ioemu" => {
                    let why = "a PVH guest has no emulated network card";
                    return Err(fault(not_supported("type", value, why)));
                }
                _ => return Err(fault(not_supported("type", value, "must be \"vif\""))),
            },
            "script" => {
                if !matches!(value, "" | "vif-bridge" | "/etc/xen/scripts/vif-bridge") {
                    let why = match self.backends {
                        Backends::Noxsd => {
                            "chaos runs no scripts; noxsd's switch does what \"vif-bridge\" does"
                        }
                        Backends::Dom0Kernel => {
                            "chaos runs no scripts; it does what \"vif-bridge\" does: it adds the \
                             interface to the bridge"
                        }
                    };
                    return Err(fault(not_supported("script", value, why)));
                }
            }
            "backend" if matches!(value, "0" | "Domain-0") => {}
            "accel" => return Ok(Some("accel")),
            // Of an emulated card, which a PVH guest does not have.
            "model" => return Ok(Some("model")),
            _ => return Err(self.unknown(name)),
        }
        Ok(None)
    }

    /// Applies a field without a value.
    fn flag(&self) -> Result<(), Fault> {
        match self.text {
            "trusted" => Ok(()),
            "untrusted" => {
                Err(self
                    .not_supported("untrusted", "chaos does not announce backends as untrusted"))
            }
            field => Err(Fault {
                span: self.span,
                problem: VifProblem::NoValue { field: field.to_owned() }.into(),
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
        let problem =
            VifProblem::UnknownField { field: name.to_owned(), nearest: nearest(name, known) };
        Fault { span: self.span, problem: problem.into() }
    }

    fn not_supported(&self, field: &'static str, why: &'static str) -> Fault {
        Fault { span: self.span, problem: VifProblem::FieldNotSupported { field, why }.into() }
    }
}

fn not_supported(key: &'static str, value: &str, why: &'static str) -> ConfigProblem {
    ConfigProblem::ValueNotSupported { key, value: value.to_owned(), why }
}

fn parse_mac(text: &str) -> Result<MacAddr, VifProblem> {
    let wrong = |why| VifProblem::Mac { text: text.to_owned(), why };
    let mac: MacAddr = text
        .parse()
        .map_err(|_| wrong("must be six pairs of hexadecimal digits, such as 00:16:3e:00:00:01"))?;
    check_mac(mac).map_err(wrong)?;
    Ok(mac)
}

fn parse_name(text: &str) -> Result<String, VifProblem> {
    if is_vif_name(text) {
        Ok(text.to_owned())
    } else {
        Err(VifProblem::Name { text: text.to_owned() })
    }
}

fn parse_bridge(text: &str) -> Result<String, VifProblem> {
    if is_interface_name(text) {
        Ok(text.to_owned())
    } else {
        Err(VifProblem::Bridge { text: text.to_owned() })
    }
}
