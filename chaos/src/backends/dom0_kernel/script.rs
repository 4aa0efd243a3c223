// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs hotplug scripts of vifs as libxl does (`get_hotplug_env` and `libxl__hotplug_nic` of
//! libxl_linux.c, `device_hotplug` of libxl_device.c).
//!
//! A script finds the rest in XenStore, below its `XENBUS_PATH`. It writes `hotplug-status` there,
//! for which netback waits before it connects to the guest, or `hotplug-error`.

use std::io;
use std::path::Path;
use std::time::Duration;

use nix::unistd::{AccessFlags, access};
use thiserror::Error;
use xen::units::DomId;
use xenstore::Batch;

use super::child::{self, End};
use crate::announce::xenstore::XenStorePaths;
use crate::clients::xenstored::{Connection, StoreError};
use crate::config::{SCRIPTS, VifConfig};

/// How long a script may take (`LIBXL_HOTPLUG_TIMEOUT`).
pub(super) const TIMEOUT: Duration = Duration::from_secs(40);

/// Why a script has not connected a vif to its network, or not disconnected it.
#[derive(Debug, Error)]
pub enum ScriptError {
    /// It cannot be run.
    #[error(
        "script {path} of vif{vif}: must be a program that root can run, in {SCRIPTS} unless its path \
         is absolute"
    )]
    Unusable {
        /// Its path.
        path: String,
        /// The number of the vif.
        vif: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It failed, or took too long.
    #[error(
        "script {path} {action} of vif{vif} {end}{}; the scripts of Xen log to \
         /var/log/xen/xen-hotplug.log",
        said(words.as_deref())
    )]
    Failed {
        /// Its path.
        path: String,
        /// What it was to do.
        action: &'static str,
        /// The number of the vif.
        vif: u32,
        /// How it ended.
        end: End,
        /// `hotplug-error`, or else the last line that it printed.
        words: Option<String>,
    },
    /// It could not be started or waited for.
    #[error("cannot run script {path} {action} of vif{vif}")]
    Run {
        /// Its path.
        path: String,
        /// What it was to do.
        action: &'static str,
        /// The number of the vif.
        vif: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// XenStore cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn said(words: Option<&str>) -> String {
    words.map(|words| format!(": {words}")).unwrap_or_default()
}

/// What a script is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Connect the interface.
    Online,
    /// Disconnect it.
    Offline,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }
}

/// A vif and its script.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hotplug<'a> {
    pub(super) paths: XenStorePaths,
    /// The number of the vif.
    pub(super) vif: u32,
    /// The absolute path.
    pub(super) script: &'a str,
}

/// Checks that the scripts of vifs can be run, before anything is created.
///
/// # Errors
/// [`ScriptError::Unusable`].
pub(crate) fn check(vifs: &[VifConfig]) -> Result<(), ScriptError> {
    let scripts = vifs.iter().enumerate().filter_map(|(vif, config)| {
        let script = config.script.as_deref()?;
        Some((vif, script.path.as_str()))
    });
    for (vif, path) in scripts {
        let is_file = std::fs::metadata(path).map(|found| found.is_file());
        let usable = is_file.and_then(|is_file| match is_file {
            true => Ok(access(Path::new(path), AccessFlags::X_OK)?),
            false => Err(io::ErrorKind::InvalidInput.into()),
        });
        usable.map_err(|source| ScriptError::Unusable { path: path.to_owned(), vif, source })?;
    }
    Ok(())
}

impl Hotplug<'_> {
    /// Runs the script, at most for `timeout`, and waits for its end.
    ///
    /// # Errors
    /// It fails.
    pub(super) fn run(
        self,
        connection: &mut Connection,
        action: Action,
        timeout: Duration,
    ) -> Result<(), ScriptError> {
        let Self { paths, vif, script } = self;
        let (path, action) = (script.to_owned(), action.as_str());
        let variables = variables(paths.domid, vif, script);
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        let (end, printed) = child::run(&[script, action, "type_if=vif"], &variables, timeout)
            .map_err(|source| ScriptError::Run { path: path.clone(), action, vif, source })?;
        if end == End::Exited(0) {
            return Ok(());
        }
        let reason = connection.read(&format!("{}/hotplug-error", paths.backend("vif", vif)))?;
        let reason = reason.filter(|text| !text.is_empty()).map(|text| child::shown(&text));
        let words = reason.or_else(|| printed.last_line());
        Err(ScriptError::Failed { path, action, vif, end, words })
    }
}

/// Returns what libxl adds to the environment of a script.
fn variables(domid: DomId, vif: u32, script: &str) -> [(&'static str, String); 6] {
    [
        ("script", script.to_owned()),
        ("XENBUS_TYPE", "vif".to_owned()),
        ("XENBUS_PATH", format!("backend/vif/{domid}/{vif}")),
        ("XENBUS_BASE_PATH", "backend".to_owned()),
        // `gatewaydev=`, which chaos does not support.
        ("netdev", String::new()),
        ("vif", format!("vif{domid}.{vif}")),
    ]
}

/// Runs the scripts with `offline` that a domain's nodes in XenStore name. Returns those that failed:
/// the domain is removed all the same. The nodes and the interfaces must still exist.
///
/// # Errors
/// xenstored does not answer.
pub(super) fn offline(
    connection: &mut Connection,
    paths: XenStorePaths,
) -> Result<Vec<ScriptError>, StoreError> {
    let mut failed = Vec::new();
    for (vif, script) in paths.scripts(connection)? {
        let hotplug = Hotplug { paths, vif, script: &script };
        failed.extend(hotplug.run(connection, Action::Offline, TIMEOUT).err());
    }
    Ok(failed)
}

impl XenStorePaths {
    /// Returns the scripts of the vifs that are announced for this domain, with the numbers of the vifs.
    fn scripts(self, connection: &mut Connection) -> Result<Vec<(u32, String)>, StoreError> {
        let numbers = 0..u32::try_from(noxs::MAX_VIFS).unwrap_or(u32::MAX);
        let mut batch = Batch::new();
        batch.read(&self.vm_node());
        for vif in numbers.clone() {
            batch.read(&self.script_node(vif));
        }
        let mut answers = connection.ask(&batch)?.into_iter();
        let vm = answers.next().and_then(Result::ok);
        if vm.is_none_or(|vm| !self.is_vm(vm.text())) {
            return Ok(Vec::new());
        }
        let scripts = numbers.zip(answers).filter_map(|(vif, answer)| {
            let script = answer.ok()?.text().to_owned();
            Self::is_script(&script).then_some((vif, script))
        });
        Ok(scripts.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use tempfile::TempDir;
    use xen::units::DomainHandle;
    use xenstore::Kind;

    use super::*;

    const PATHS: XenStorePaths =
        XenStorePaths { domid: DomId(7), handle: DomainHandle([0x11; 16]) };

    /// Returns a connection to a xenstored that has sent these answers already.
    fn connection(answers: &[(Kind, &str)]) -> (Connection, UnixStream) {
        let (here, mut there) = UnixStream::pair().unwrap();
        for (kind, payload) in answers {
            for word in [*kind as u32, 0, 0, u32::try_from(payload.len()).unwrap()] {
                there.write_all(&word.to_le_bytes()).unwrap();
            }
            there.write_all(payload.as_bytes()).unwrap();
        }
        (Connection::over(here), there)
    }

    fn script(text: &str) -> (TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        (folder, path.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_script_gets_the_arguments_and_the_environment_of_xl() {
        let (folder, path) = script(
            "d=$(dirname \"$0\"); echo \"$*\" >\"$d/args\"\n\
             for v in script XENBUS_TYPE XENBUS_PATH XENBUS_BASE_PATH netdev vif INTERFACE; do\n\
             eval \"echo $v=\\${$v-unset}\"; done >\"$d/env\"",
        );
        let (mut connection, _there) = connection(&[]);
        let hotplug = Hotplug { paths: PATHS, vif: 2, script: &path };
        for action in [Action::Online, Action::Offline] {
            hotplug.run(&mut connection, action, TIMEOUT).unwrap();
            let args = fs::read_to_string(folder.path().join("args")).unwrap();
            assert_eq!(args, format!("{} type_if=vif\n", action.as_str()));
            let env = fs::read_to_string(folder.path().join("env")).unwrap();
            let expected = format!(
                "script={path}\nXENBUS_TYPE=vif\nXENBUS_PATH=backend/vif/7/2\n\
                 XENBUS_BASE_PATH=backend\nnetdev=\nvif=vif7.2\nINTERFACE=unset\n"
            );
            assert_eq!(env, expected);
        }
    }

    #[test]
    fn the_error_has_what_the_script_says_in_xenstore_or_prints() {
        let (_folder, path) = script("echo printed; exit 1");
        let hotplug = Hotplug { paths: PATHS, vif: 0, script: &path };
        for (answer, words) in
            [((Kind::Read, "no\nbridge"), "no\\nbridge"), ((Kind::Error, "ENOENT\0"), "printed")]
        {
            let (mut connection, _there) = connection(&[answer]);
            let error = hotplug.run(&mut connection, Action::Online, TIMEOUT).unwrap_err();
            let expected = format!(
                "script {path} online of vif0 failed with exit status 1: {words}; the scripts of Xen \
                 log to /var/log/xen/xen-hotplug.log"
            );
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn a_script_that_hangs_fails_at_the_deadline() {
        let (_folder, path) = script("echo waiting; sleep 1000");
        let (mut connection, _there) = connection(&[(Kind::Error, "ENOENT\0")]);
        let hotplug = Hotplug { paths: PATHS, vif: 0, script: &path };
        let short = Duration::from_millis(500);
        let error = hotplug.run(&mut connection, Action::Online, short).unwrap_err().to_string();
        assert!(error.contains("of vif0 took too long and was killed: waiting;"), "{error}");
    }

    #[test]
    fn only_scripts_of_this_domain_are_run_when_it_is_removed() {
        let (folder, path) = script("echo \"$XENBUS_PATH $*\" >>\"$(dirname \"$0\")/log\"; exit 2");
        let none = (Kind::Error, "ENOENT\0");
        let vm = format!("/vm/{}", PATHS.handle);
        let nodes = |vm| {
            let mut answers = vec![(Kind::Read, vm), (Kind::Read, "/bin/true"), none];
            answers.push((Kind::Read, path.as_str()));
            answers.resize(1 + noxs::MAX_VIFS, none);
            // Of hotplug-error.
            answers.push(none);
            answers
        };
        let (mut other, _there) = connection(&nodes("/vm/another"));
        assert!(offline(&mut other, PATHS).unwrap().is_empty());
        assert!(!folder.path().join("log").exists());
        let (mut own, _there) = connection(&nodes(&vm));
        let failed = offline(&mut own, PATHS).unwrap();
        assert!(matches!(failed.as_slice(), [ScriptError::Failed { vif: 2, .. }]), "{failed:?}");
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        assert_eq!(log, "backend/vif/7/2 offline type_if=vif\n");
    }

    #[test]
    fn a_script_that_cannot_be_run_is_refused_before_anything_is_created() {
        let (folder, path) = script("");
        let vif = |path: &str| {
            let text = format!(
                "name='a'\ntype='pvh'\nkernel='/k'\nstore='xenstore'\nvif=['', 'script={path}']"
            );
            crate::config::parse_str("test", &text, &[], true).unwrap().config.vifs
        };
        assert!(check(&vif(&path)).is_ok());
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let folder = folder.path().to_str().unwrap();
        for path in [path.as_str(), folder, "no-such-script"] {
            let error = check(&vif(path)).unwrap_err().to_string();
            assert!(error.contains("of vif1: must be a program"), "{error}");
        }
        let error = check(&vif("no-such-script")).unwrap_err().to_string();
        assert!(error.starts_with("script /etc/xen/scripts/no-such-script"), "{error}");
    }
}
