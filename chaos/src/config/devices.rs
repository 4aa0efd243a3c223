// SPDX-License-Identifier: GPL-3.0-or-later
//! The lists of devices: `vif=` and `disk=`.

use noxs::{MAX_DEVICES, MAX_VIFS};

use super::OVERRIDES;
use super::disk::{DiskConfig, DiskProblem, ParsedDisk, parse_disk};
use super::error::{ConfigError, ConfigErrors, Faults};
use super::problem::ConfigProblem;
use super::reader::Reader;
use super::source::{Source, SourceSpan};
use super::store::{Backends, Store};
use super::value::{Atom, Kind, Value};
use super::vif::VifConfig;
use super::vif_fields::parse_vif;
use super::vif_problem::VifProblem;
use super::vif_script::names_script;
use super::warning::WarningKind;

/// Returns the vifs. Adds warnings about fields without effect, and what is wrong.
pub(super) fn vifs(reader: &mut Reader<'_>, store: Store) -> Vec<VifConfig> {
    let wanted = "a list of strings, such as ['bridge=xenbr0']";
    let Some(values) = list(reader, "vif", wanted) else { return Vec::new() };
    if let Some(value) = values.get(MAX_VIFS) {
        reader.refuse("vif", value.span, VifProblem::TooMany { most: MAX_VIFS }.into());
    }
    let mut vifs: Vec<VifConfig> = Vec::with_capacity(values.len().min(MAX_VIFS));
    for (number, value) in (0..).zip(values.iter().take(MAX_VIFS)) {
        let vif = parse_vif(reader, value, number, store.backends());
        let has_name = |other: &VifConfig| other.name == vif.name;
        if let Some(text) = vif.name.clone()
            && let Some(other) = vifs.iter().position(has_name)
        {
            reader.refuse("vif", value.span, VifProblem::NameTaken { text, other }.into());
        }
        vifs.push(vif);
    }
    vifs
}

/// Returns whether a vif has a script, for which dom0's kernel must serve it.
pub(super) fn have_script(reader: &Reader<'_>) -> bool {
    let Some(setting) = reader.find("vif") else { return false };
    let Kind::List(values) = &setting.value.kind else { return false };
    values.iter().any(|value| match &value.kind {
        Kind::Atom(Atom { text, .. }) => names_script(text),
        Kind::List(_) => false,
    })
}

/// Returns the disks, each with a number of its own. `others` is the number of other devices. Adds what
/// is wrong.
pub(super) fn disks(reader: &mut Reader<'_>, others: usize) -> Vec<DiskConfig> {
    let wanted = "a list of strings, such as ['/srv/a.img,raw,xvda,rw']";
    let Some(values) = list(reader, "disk", wanted) else { return Vec::new() };
    let room = MAX_DEVICES.saturating_sub(others);
    if let Some(value) = values.get(room) {
        let problem = ConfigProblem::TooManyDisks { room, others, most: MAX_DEVICES };
        reader.refuse("disk", value.span, problem);
    }
    let mut disks: Vec<DiskConfig> = Vec::new();
    for value in values.iter().take(room) {
        let parsed = disk(value, wanted).and_then(|parsed| match parsed {
            ParsedDisk::Disk(disk) if disks.iter().any(|other| other.id == disk.id) => {
                Err(ConfigProblem::DiskTwice { vdev: disk.vdev })
            }
            parsed => Ok(parsed),
        });
        match reader.value("disk", value, parsed) {
            Some(ParsedDisk::Disk(disk)) => disks.push(disk),
            Some(ParsedDisk::EmptyDrive) => reader.warn(value.span, WarningKind::EmptyDrive),
            None => {}
        }
    }
    disks
}

/// Parses a vif from arguments of a command, each with one field or several: what a string of `vif=`
/// contains. Fields without effect are ignored.
///
/// # Errors
/// Something in them is wrong.
pub fn parse_vif_arguments(fields: &[String]) -> Result<VifConfig, ConfigErrors> {
    parse_arguments(fields, |reader, value, _| {
        // The number is not known yet; `devid=` must not be given.
        Some(parse_vif(reader, value, 0, Backends::Noxsd))
    })
}

/// Parses a disk from arguments of a command, each with one field or several: what a string of `disk=`
/// contains.
///
/// # Errors
/// There are none, or something in them is wrong.
pub fn parse_disk_arguments(fields: &[String]) -> Result<DiskConfig, ConfigErrors> {
    if fields.iter().all(|field| field.trim_matches([',', ' ']).is_empty()) {
        let example = "/srv/a.img,raw,xvdb,rw";
        return Err(ConfigError::NoFields { device: "disk", example }.into());
    }
    // The target is the rest of its string, and of no other.
    let mut fields = fields.to_vec();
    fields.sort_by_key(|field| {
        field.trim_start().starts_with("target=") || field.contains(",target=")
    });
    parse_arguments(&fields, |reader, value, text| {
        let parsed = match disk(value, "a disk, such as /srv/a.img,raw,xvda,rw") {
            Ok(ParsedDisk::Disk(disk)) => Ok(disk),
            Ok(ParsedDisk::EmptyDrive) => {
                let problem = DiskProblem::NoTarget;
                Err(ConfigProblem::Disk { text: text.to_owned(), problem })
            }
            Err(problem) => Err(problem),
        };
        reader.value("disk", value, parsed)
    })
}

fn parse_arguments<T>(
    fields: &[String],
    parse: impl FnOnce(&mut Reader<'_>, &Value, &str) -> Option<T>,
) -> Result<T, ConfigErrors> {
    let text = fields.join(",");
    let sources = [Source { name: OVERRIDES, text: &text, is_argument: true }];
    let span = SourceSpan { source: 0, start: 0, end: text.len() };
    let atom = Atom { text: text.clone(), bare: true, verbatim: true };
    let value = Value { kind: Kind::Atom(atom), span };
    // These fields are written for this command, so an unknown one is an error.
    let mut reader = Reader::new(&sources, &[], Faults::default(), true);
    let parsed = parse(&mut reader, &value, &text);
    reader.faults.check(OVERRIDES.as_ref(), &sources)?;
    // What is not parsed has a fault.
    parsed.ok_or_else(|| {
        ConfigErrors::from(ConfigError::Missing {
            file: OVERRIDES.to_owned(),
            key: "disk",
            example: "/srv/a.img,raw,xvda,rw",
        })
    })
}

/// Returns the members of a setting whose value is a list. An empty string is a list without members.
fn list<'a>(
    reader: &mut Reader<'a>,
    key: &'static str,
    wanted: &'static str,
) -> Option<&'a [Value]> {
    let setting = reader.find(key)?;
    match &setting.value.kind {
        Kind::List(values) => Some(values),
        Kind::Atom(Atom { text, .. }) if text.is_empty() => None,
        Kind::Atom(_) => {
            let found = setting.value.kind_name();
            reader.refuse(key, setting.value.span, ConfigProblem::Type { key, wanted, found });
            None
        }
    }
}

fn disk(value: &Value, wanted: &'static str) -> Result<ParsedDisk, ConfigProblem> {
    match &value.kind {
        Kind::Atom(Atom { text, .. }) => {
            parse_disk(text).map_err(|problem| ConfigProblem::Disk { text: text.clone(), problem })
        }
        Kind::List(_) => {
            Err(ConfigProblem::Type { key: "disk", wanted, found: "a list in a list" })
        }
    }
}
