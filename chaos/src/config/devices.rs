// SPDX-License-Identifier: GPL-3.0-or-later
//! The lists of devices: `vif=` and `disk=`.

use noxs::{MAX_DEVICES, MAX_VIFS};

use super::disk::{DiskConfig, parse_disk};
use super::problem::ConfigProblem;
use super::reader::Reader;
use super::store::Store;
use super::value::{Atom, Kind, Value};
use super::vif::VifConfig;
use super::vif_fields::parse_vif;
use super::vif_problem::VifProblem;

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
        let parsed = disk(value, wanted).and_then(|disk| {
            match disks.iter().any(|other| other.id == disk.id) {
                true => Err(ConfigProblem::DiskTwice { vdev: disk.vdev }),
                false => Ok(disk),
            }
        });
        disks.extend(reader.value("disk", value, parsed));
    }
    disks
}

/// Returns the members of a setting whose value is a list.
fn list<'a>(
    reader: &mut Reader<'a>,
    key: &'static str,
    wanted: &'static str,
) -> Option<&'a [Value]> {
    let setting = reader.find(key)?;
    match &setting.value.kind {
        Kind::List(values) => Some(values),
        Kind::Atom(_) => {
            let found = setting.value.kind_name();
            reader.refuse(key, setting.value.span, ConfigProblem::Type { key, wanted, found });
            None
        }
    }
}

fn disk(value: &Value, wanted: &'static str) -> Result<DiskConfig, ConfigProblem> {
    match &value.kind {
        Kind::Atom(Atom { text, .. }) => {
            parse_disk(text).map_err(|problem| ConfigProblem::Disk { text: text.clone(), problem })
        }
        Kind::List(_) => {
            Err(ConfigProblem::Type { key: "disk", wanted, found: "a list in a list" })
        }
    }
}
