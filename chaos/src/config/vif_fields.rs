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
use super::vif_script::{VifScript, is_node_text, is_script_bridge, names_script, script_path};
use super::warning::WarningKind;

/// Fields that are supported.
const SUPPORTED: &[&str] = &[
    "bridge", "devid", "ip", "mac", "model", "mtu", "rate", "script", "trusted", "type", "vifname",
];

/// Fields of xl that are not supported, and why.
const NOT_SUPPORTED: &[(&str, &str)] = &[
    ("backend", "vifs are served in dom0 only; remove it"),
    ("forwarddev", NO_COLO),
    ("gatewaydev", BRIDGES),
    ("netdev", BRIDGES),
    ("vlan", VLAN),
];

const VLAN: &str = "chaos has no VLANs; create a bridge, add an interface of the VLAN to it, and name the bridge with bridge=";

const BRIDGES: &str =
    "chaos connects vifs to bridges only; remove it, and name a bridge with bridge=";

const NO_COLO: &str = "chaos has no COLO replication; remove it";

const NO_SCRIPT: &str = "scripts are for interfaces of dom0's kernel, and noxsd's switch has none: remove script=, and \
     name a bridge of Linux with bridge=; or remove store=, and give the guest a kernel that finds its \
     devices in XenStore";

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
    let has_script = names_script(text);
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
            has_script,
            strict: reader.strict,
        };
        match field.apply(&mut vif) {
            Ok(None) => {}
            Ok(Some(notice)) => reader.warn(field.span, notice.into()),
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
    /// Whether the vif has a script, which then gets some fields as they are.
    has_script: bool,
    /// Whether an unknown field is an error.
    strict: bool,
}

/// What is reported of a field that is not applied.
enum Notice {
    /// It has no effect, as in xl.
    NoEffect(&'static str),
    /// It is unknown.
    Unknown { field: String, nearest: Option<&'static str> },
}

impl From<Notice> for WarningKind {
    fn from(notice: Notice) -> Self {
        match notice {
            Notice::NoEffect(field) => Self::VifNoEffect { field },
            Notice::Unknown { field, nearest } => Self::UnknownVifField { field, nearest },
        }
    }
}

impl Field<'_> {
    /// Applies the field to `vif`. Returns what to report of it.
    fn apply(&self, vif: &mut VifConfig) -> Result<Option<Notice>, Fault> {
        if self.text.is_empty() {
            return Ok(None);
        }
        let Some((name, value)) = self.text.split_once('=') else {
            return self.flag();
        };
        // From here on, messages point at the value. xl, too, accepts blanks before a MAC address.
        let at = self.start + self.text.len() - value.trim_start_matches(' ').len();
        let value = value.trim_start_matches(' ');
        let span = self.whole.part(at, at + value.len());
        let fault = |problem| Fault { span, problem };
        let wrong = |problem: VifProblem| fault(problem.into());
        match name {
            "mac" => vif.mac = Some(parse_mac(value).map_err(wrong)?),
            "bridge" => vif.bridge = self.bridge(value).map_err(wrong)?,
            "ip" if self.has_script => self.ip_for_script(value, vif).map_err(wrong)?,
            "ip" => {
                let text = value.to_owned();
                let IpConfig { ipv4, ipv6 } =
                    parse_ip(value).map_err(|error| wrong(VifProblem::Ip { text, error }))?;
                (vif.ip, vif.ip6) = (ipv4, ipv6);
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
                // xl reports it, and creates a vif.
                _ => return Ok(Some(Notice::NoEffect("type"))),
            },
            "script" => {
                let path = script_path(value).map_err(wrong)?;
                if path.is_some() && self.backends == Backends::Noxsd {
                    return Err(fault(not_supported("script", value, NO_SCRIPT)));
                }
                match (path, &mut vif.script) {
                    (None, script) => *script = None,
                    (Some(path), Some(script)) => script.path = path,
                    (Some(path), script) => *script = Some(Box::new(VifScript { path, ip: None })),
                }
            }
            "backend" if matches!(value, "0" | "Domain-0") => {}
            "accel" => return Ok(Some(Notice::NoEffect("accel"))),
            // Of an emulated card, which a PVH guest does not have.
            "model" => return Ok(Some(Notice::NoEffect("model"))),
            _ => return self.unknown(name).map(Some),
        }
        Ok(None)
    }

    /// Returns the name of a bridge, or the text that the script gets in its place.
    fn bridge(&self, text: &str) -> Result<String, VifProblem> {
        match self.has_script && is_script_bridge(text) {
            true => Ok(text.to_owned()),
            false => parse_bridge(text),
        }
    }

    /// Keeps `ip=` for the script. It may have another form than for a guest, which then has no
    /// address that chaos knows.
    fn ip_for_script(&self, text: &str, vif: &mut VifConfig) -> Result<(), VifProblem> {
        if !is_node_text(text) {
            return Err(VifProblem::ScriptIp { text: text.to_owned() });
        }
        let known = parse_ip(text).ok();
        vif.ip = known.and_then(|known| known.ipv4);
        vif.ip6 = known.and_then(|known| known.ipv6);
        let none = || Box::new(VifScript { path: String::new(), ip: None });
        vif.script.get_or_insert_with(none).ip = Some(text.to_owned());
        Ok(())
    }

    /// Applies a field without a value.
    fn flag(&self) -> Result<Option<Notice>, Fault> {
        match self.text {
            "trusted" => Ok(None),
            "untrusted" => Err(self.not_supported(
                "untrusted",
                "chaos does not announce backends as untrusted; remove it",
            )),
            field if SUPPORTED.contains(&field) => Err(Fault {
                span: self.span,
                problem: VifProblem::NoValue { field: field.to_owned() }.into(),
            }),
            field => self.unknown(field).map(Some),
        }
    }

    /// Returns what to report of a field that is not supported. xl reports an unknown one and goes on.
    fn unknown(&self, name: &str) -> Result<Notice, Fault> {
        if let Some((field, why)) = NOT_SUPPORTED.iter().find(|(field, _)| *field == name) {
            return Err(self.not_supported(field, why));
        }
        if name.starts_with(COLO) {
            return Err(self.not_supported("colo_…", NO_COLO));
        }
        let known = SUPPORTED.iter().chain(NOT_SUPPORTED.iter().map(|(field, _)| field)).copied();
        let (field, nearest) = (name.to_owned(), nearest(name, known));
        if !self.strict {
            return Ok(Notice::Unknown { field, nearest });
        }
        let problem = VifProblem::UnknownField { field, nearest };
        Err(Fault { span: self.span, problem: problem.into() })
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
    // xl accepts one digit for an octet, too.
    let octets: Vec<_> = text.split(|c: char| c.is_ascii() && !c.is_ascii_hexdigit()).collect();
    let padded =
        |octet: &&str| if octet.len() == 1 { format!("0{octet}") } else { (*octet).to_owned() };
    let padded = octets.iter().map(padded).collect::<Vec<_>>().join(":");
    let mac: MacAddr = padded
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
