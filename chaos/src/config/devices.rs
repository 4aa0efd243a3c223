// SPDX-License-Identifier: GPL-3.0-or-later
//! The lists of devices: `vif=` and `disk=`.

use super::disk::{DiskConfig, MAX_DISKS, parse_disk};
use super::error::ConfigError;
use super::problem::ConfigProblem;
use super::reader::Reader;
use super::store::Store;
use super::value::{Atom, Kind, Value};
use super::vif::{MAX_VIFS, VifConfig};
use super::vif_fields::parse_vif;
use super::vif_problem::VifProblem;

/// Returns the vifs, and adds warnings about fields without effect.
pub(super) fn vifs(reader: &mut Reader<'_>) -> Result<Vec<VifConfig>, ConfigError> {
    let Some(setting) = reader.find("vif") else { return Ok(Vec::new()) };
    let Kind::List(values) = &setting.value.kind else {
        let wanted = "a list of strings, such as ['bridge=xenbr0']";
        let found = setting.value.kind_name();
        let problem = ConfigProblem::Type { key: "vif", wanted, found };
        return Err(reader.error(setting.value.span, problem));
    };
    if let Some(value) = values.get(MAX_VIFS) {
        return Err(reader.error(value.span, VifProblem::TooMany { most: MAX_VIFS }.into()));
    }
    let sources = reader.sources;
    values
        .iter()
        .map(|value| parse_vif(value, sources, &mut reader.warnings))
        .collect::<Result<_, _>>()
        .map_err(|fault| fault.into_error(sources))
}

/// Returns the disks, each with a number of its own.
pub(super) fn disks(reader: &Reader<'_>, store: Store) -> Result<Vec<DiskConfig>, ConfigError> {
    let Some(setting) = reader.find("disk") else { return Ok(Vec::new()) };
    let Kind::List(values) = &setting.value.kind else {
        let wanted = "a list of strings, such as ['/srv/a.img,raw,xvda,rw']";
        let found = setting.value.kind_name();
        let problem = ConfigProblem::Type { key: "disk", wanted, found };
        return Err(reader.error(setting.value.span, problem));
    };
    if !store.backends().serve_disks() && !values.is_empty() {
        return Err(reader.error(setting.key_span, ConfigProblem::XenStoreOnly { key: "disk" }));
    }
    if let Some(value) = values.get(MAX_DISKS) {
        return Err(reader.error(value.span, ConfigProblem::TooManyDisks { most: MAX_DISKS }));
    }
    let mut disks: Vec<DiskConfig> = Vec::new();
    for value in values {
        let disk = disk(reader, value)?;
        if disks.iter().any(|other| other.id == disk.id) {
            return Err(reader.error(value.span, ConfigProblem::DiskTwice { vdev: disk.vdev }));
        }
        disks.push(disk);
    }
    Ok(disks)
}

fn disk(reader: &Reader<'_>, value: &Value) -> Result<DiskConfig, ConfigError> {
    let problem = match &value.kind {
        Kind::Atom(Atom { text, .. }) => match parse_disk(text) {
            Ok(disk) => return Ok(disk),
            Err(problem) => ConfigProblem::Disk { text: text.clone(), problem },
        },
        Kind::List(_) => {
            let wanted = "a list of strings, such as ['/srv/a.img,raw,xvda,rw']";
            ConfigProblem::Type { key: "disk", wanted, found: "a list in a list" }
        }
    };
    Err(reader.error(value.span, problem))
}
