// SPDX-License-Identifier: GPL-3.0-or-later
//! Finds the program and its user.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::BootloaderError;
use crate::image::xen_version::{self, VERSION};

/// The users of the system.
const USERS: &str = "/etc/passwd";

/// Where programs are without a `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns the path of a bootloader, without links.
///
/// As in libxl, a name without a `/` at its beginning is one of Xen's own programs, or else one in
/// `PATH`. A relative path with a `/` is one of the former only: a restart has another working directory
/// than the command that created the guest. A path of `pygrub` that does not exist or is Debian's wrapper
/// is one of the former, too: configs keep the paths of older releases.
///
/// # Errors
/// It does not exist, or is not a program.
pub fn find(program: &Path) -> Result<PathBuf, BootloaderError> {
    let path = env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.into());
    find_below(Path::new("/"), Path::new(VERSION), &path, program)
}

fn find_below(
    root: &Path,
    version: &Path,
    path: &str,
    program: &Path,
) -> Result<PathBuf, BootloaderError> {
    let version = xen_version::read(version).ok();
    let folders = xen_version::folders(root, version.as_deref().unwrap_or("VERSION"));
    let own = folders.map(|folder| folder.join("bin"));
    let name = program.file_name().unwrap_or(program.as_os_str());
    let is_pygrub = name == "pygrub";
    let is_wrapper = program == Path::new("/usr/bin/pygrub");
    let mut candidates = Vec::new();
    if program.is_absolute() && !is_wrapper {
        candidates.push(root.join(program.strip_prefix("/").unwrap_or(program)));
    }
    if program.is_relative() || is_pygrub {
        let own = own.iter().map(|folder| match program.is_relative() {
            true => folder.join(program),
            false => folder.join(name),
        });
        candidates.extend(own);
    }
    if is_wrapper {
        candidates.push(root.join("usr/bin/pygrub"));
    }
    if program.is_relative() && program.components().count() == 1 {
        let folders = path.split(':').filter(|folder| folder.starts_with('/'));
        candidates.extend(folders.map(|folder| root.join(&folder[1..]).join(program)));
    }
    let found = candidates.iter().find(|path| path.exists());
    let Some(found) = found.and_then(|path| fs::canonicalize(path).ok()) else {
        let program = candidates.into_iter().next().unwrap_or_else(|| program.to_owned());
        let name = name.to_string_lossy();
        return Err(BootloaderError::Missing {
            program,
            remedy: remedy(&name, version.as_deref()),
        });
    };
    let is_program = fs::metadata(&found)
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0);
    if is_program { Ok(found) } else { Err(BootloaderError::NotAProgram { program: found }) }
}

/// Returns what to do about a program that does not exist.
fn remedy(name: &str, version: Option<&str>) -> String {
    match name {
        "pygrub" | "xenpvnetboot" => {
            let version = version.unwrap_or("VERSION, where VERSION is that of the running Xen");
            format!("on Debian install xen-utils-{version}")
        }
        _ if name.starts_with("pvgrub") || name.starts_with("pv-grub") => {
            "PV-GRUB is a kernel: name it with kernel= instead".into()
        }
        _ => "install it, or write bootloader = \"pygrub\", which Xen has".into(),
    }
}

/// Returns the number of a user other than root.
///
/// # Errors
/// `/etc/passwd` has no such user, or it is root.
pub(super) fn user_id(user: &str) -> Result<u32, BootloaderError> {
    let users = fs::read_to_string(USERS).unwrap_or_default();
    user_id_in(&users, user).map_err(|why| BootloaderError::User { user: user.to_owned(), why })
}

/// The same in the text of [`USERS`]. The C library would load other libraries for this, which a static
/// program must not.
fn user_id_in(users: &str, user: &str) -> Result<u32, &'static str> {
    let id = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(user)).then(|| fields.nth(1)?.parse().ok())?
    });
    match id {
        Some(0) => Err("it is root, who is not restricted; name another user"),
        Some(id) => Ok(id),
        None => Err("there is no such user in /etc/passwd; create it, or remove bootloader_user"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct TestRoot {
        root: tempfile::TempDir,
    }

    impl TestRoot {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let version = root.path().join("version");
            fs::create_dir(&version).unwrap();
            fs::write(version.join("major"), "4\n").unwrap();
            fs::write(version.join("minor"), "17\n").unwrap();
            Self { root }
        }

        fn add(&self, path: &str, mode: u32) {
            let path = self.root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }

        fn find(&self, program: &str) -> Result<String, String> {
            let root = fs::canonicalize(self.root.path()).unwrap();
            let path = "/usr/sbin:relative:/usr/bin";
            let found = find_below(&root, &root.join("version"), path, program.as_ref());
            let found = found.map_err(|error| error.to_string())?;
            Ok(found.strip_prefix(root).unwrap().display().to_string())
        }
    }

    #[test]
    fn the_program_of_the_running_xen_comes_first() {
        let root = TestRoot::new();
        let error = root.find("pygrub").unwrap_err();
        assert!(error.contains("usr/lib/xen-4.17/bin/pygrub does not exist"), "{error}");
        assert!(error.contains("on Debian install xen-utils-4.17"), "{error}");
        root.add("usr/bin/pygrub", 0o755);
        for program in ["pygrub", "/usr/bin/pygrub", "/usr/lib/xen-4.11/bin/pygrub"] {
            let found = root.find(program);
            let is_old = program.contains("4.11");
            assert_eq!(found.is_err(), is_old, "{program}: {found:?}");
        }
        root.add("usr/lib/xen-4.17/bin/pygrub", 0o755);
        for program in ["pygrub", "/usr/bin/pygrub", "/usr/lib/xen-4.11/bin/pygrub"] {
            assert_eq!(root.find(program).unwrap(), "usr/lib/xen-4.17/bin/pygrub", "{program}");
        }
        // A path that exists is taken as it is.
        root.add("opt/pygrub", 0o755);
        assert_eq!(root.find("/opt/pygrub").unwrap(), "opt/pygrub");
        root.add("usr/lib/xen-4.17/bin/sub/own", 0o755);
        assert_eq!(root.find("sub/own").unwrap(), "usr/lib/xen-4.17/bin/sub/own");
        root.add("usr/sbin/own", 0o755);
        assert!(root.find("./own").unwrap_err().contains("does not exist"));
        assert_eq!(root.find("own").unwrap(), "usr/sbin/own");
    }

    #[test]
    fn what_is_not_a_program_is_refused_with_a_remedy() {
        let root = TestRoot::new();
        root.add("usr/lib/xen-4.17/bin/pvgrub-x86_64.gz", 0o644);
        for (program, says) in [
            ("pvgrub-x86_64.gz", "is not a program; if it is a kernel"),
            ("/usr/lib/xen-4.4/bin/pv-grub-x86_32.gz", "PV-GRUB is a kernel: name it with kernel="),
            ("eliloader", "write bootloader = \"pygrub\""),
            ("/opt/missing", "/opt/missing does not exist; install it"),
        ] {
            let error = root.find(program).unwrap_err();
            assert!(error.contains(says), "{program}: {error}");
        }
    }

    #[test]
    fn a_user_other_than_root_has_a_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nboot:x:104:110::/:/usr/sbin/nologin\nodd:x\n";
        assert_eq!(user_id_in(users, "boot"), Ok(104));
        assert!(user_id_in(users, "root").unwrap_err().contains("not restricted"));
        for user in ["none", "odd", ""] {
            assert!(user_id_in(users, user).unwrap_err().contains("no such user"), "{user}");
        }
    }
}
