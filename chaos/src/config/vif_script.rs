// SPDX-License-Identifier: GPL-3.0-or-later
//! `script=` of a vif: a hotplug script of dom0 that connects the interface to its network.

use std::path::Path;

use bincode::{Decode, Encode};

use super::check::EncodedError;
use super::vif::VifConfig;
use super::vif_problem::VifProblem;

/// Where Xen's scripts are, and where a name without a slash at its beginning is looked up
/// (`libxl__xen_script_dir_path`).
pub const SCRIPTS: &str = "/etc/xen/scripts";

/// xl's default, whose work chaos does itself.
const BRIDGE: &str = "vif-bridge";

/// Longest path of a script, longest `ip=` and longest `bridge=` for it, in bytes.
const MAX_TEXT: usize = 512;

/// A hotplug script, and what only a script understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VifScript {
    /// Its absolute path.
    pub path: String,
    /// `ip=` as it is written: the script may expect several addresses, or networks.
    pub ip: Option<String>,
}

/// The script of a vif in a record. To change it makes the records of running guests unreadable.
#[derive(Encode, Decode)]
pub(crate) struct PlainScript {
    vif: u16,
    path: String,
    ip: Option<String>,
}

/// Returns the path of the script that `script=` names. `None` if that is the default.
///
/// # Errors
/// No path is so long, or it has control characters.
pub(super) fn script_path(text: &str) -> Result<Option<String>, VifProblem> {
    if text.is_empty() {
        return Ok(None);
    }
    // An absolute path replaces the folder.
    let path = Path::new(SCRIPTS).join(text);
    if path == Path::new(SCRIPTS).join(BRIDGE) {
        return Ok(None);
    }
    match path.into_os_string().into_string() {
        Ok(path) if is_node_text(&path) => Ok(Some(path)),
        _ => Err(VifProblem::Script { text: text.to_owned() }),
    }
}

/// Returns whether a string of `vif=` names a script that must be run. The last `script=` counts.
pub(super) fn names_script(vif: &str) -> bool {
    let mut fields = vif.rsplit(',').map(|field| field.trim_matches(' '));
    let last = fields.find_map(|field| field.strip_prefix("script="));
    last.is_some_and(|text| !matches!(script_path(text.trim_start_matches(' ')), Ok(None)))
}

/// Returns whether a script can read the text from a node in XenStore as it is.
pub(super) fn is_node_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TEXT && !text.contains(char::is_control)
}

/// Returns whether a script may get the text as the name of a bridge: `vif-openvswitch` expects
/// `BRIDGE.TAG:TRUNK:TRUNK`.
pub(super) fn is_script_bridge(text: &str) -> bool {
    is_node_text(text) && !text.contains(|c: char| c == '/' || c.is_whitespace())
}

/// Checks the script of a vif that comes from a record.
pub(super) fn check_script(vif: &VifConfig, script: &VifScript) -> Result<(), EncodedError> {
    if !script.path.starts_with('/') || !is_node_text(&script.path) {
        return Err(EncodedError::Script(script.path.clone()));
    }
    if let Some(ip) = script.ip.as_ref().filter(|ip| !is_node_text(ip)) {
        return Err(EncodedError::ScriptIp(ip.clone()));
    }
    match is_script_bridge(&vif.bridge) {
        true => Ok(()),
        false => Err(EncodedError::Bridge(vif.bridge.clone())),
    }
}

impl PlainScript {
    /// Returns the scripts of these vifs.
    pub(crate) fn of(vifs: &[VifConfig]) -> Vec<Self> {
        let numbered = (0..).zip(vifs);
        let plain = numbered.filter_map(|(vif, config)| {
            let VifScript { path, ip } = config.script.as_deref()?.clone();
            Some(Self { vif, path, ip })
        });
        plain.collect()
    }

    /// Sets the scripts of these vifs.
    ///
    /// # Errors
    /// A script is that of a vif which does not exist.
    pub(crate) fn set(scripts: Vec<Self>, vifs: &mut [VifConfig]) -> Result<(), EncodedError> {
        for Self { vif, path, ip } in scripts {
            let Some(vif) = vifs.get_mut(usize::from(vif)) else {
                return Err(EncodedError::Script(path));
            };
            vif.script = Some(Box::new(VifScript { path, ip }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_looked_up_where_xl_looks() {
        for default in ["", "vif-bridge", "/etc/xen/scripts/vif-bridge"] {
            assert_eq!(script_path(default), Ok(None), "{default}");
        }
        for (text, path) in [
            ("vif-route", "/etc/xen/scripts/vif-route"),
            ("sub/own", "/etc/xen/scripts/sub/own"),
            ("/opt/net/up", "/opt/net/up"),
            ("/opt/vif-bridge", "/opt/vif-bridge"),
        ] {
            assert_eq!(script_path(text), Ok(Some(path.into())), "{text}");
        }
        for text in ["a\nb".to_owned(), "x".repeat(MAX_TEXT)] {
            assert_eq!(script_path(&text), Err(VifProblem::Script { text: text.clone() }));
        }
    }

    #[test]
    fn the_last_script_of_a_vif_counts() {
        for (vif, names) in [
            ("bridge=br0", false),
            ("script=vif-bridge", false),
            ("bridge=ovs.7:8, script= vif-openvswitch", true),
            ("script=vif-route,script=vif-bridge", false),
            ("script=vif-bridge,script=/a", true),
            ("xscript=/a", false),
        ] {
            assert_eq!(names_script(vif), names, "{vif}");
        }
    }
}
