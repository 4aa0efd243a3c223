// SPDX-License-Identifier: GPL-3.0-or-later
//! `bootloader=`: the program that finds a guest's kernel on its first disk.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::keys::{is_set_unless, words};
use crate::config::domain::DomainConfig;
use crate::config::keys::Accepted;
use crate::config::problem::ConfigProblem;
use crate::config::reader::Reader;
use crate::config::value::{Atom, Kind};
use crate::config::warning::WarningKind;

/// A program that finds the kernel, the ramdisk and the command line of a guest on its first disk.
/// [`crate::bootloader::run`] runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootloader {
    /// `bootloader=`: a path, or the name of one of Xen's programs.
    pub program: PathBuf,
    /// `bootloader_args=`.
    pub args: Vec<String>,
    /// `bootloader_restrict=`: whether it runs without rights. The default is yes, unlike in xl.
    pub restrict: bool,
    /// `bootloader_user=`: the user that it runs as, if it is restricted.
    pub user: Option<String>,
    /// `kernel=`, which then is a path on the disk.
    pub kernel: Option<String>,
    /// `ramdisk=`, likewise.
    pub ramdisk: Option<String>,
    /// `cmdline=`, or `root=` and `extra=`. The program adds it to what it finds.
    pub cmdline: String,
}

/// Folder of the files that a bootloader has found, which are open in this process.
pub(crate) const OPEN_FILES: &str = "/proc/self/fd";

/// Returns the bootloader of a config, if it has one. Its command line is added later.
pub(super) fn build(reader: &mut Reader<'_>) -> Option<Box<Bootloader>> {
    let args = args(reader);
    let restrict = is_set_unless(reader, "bootloader_restrict", true);
    let text = |reader: &mut Reader<'_>, key| {
        let text = reader.text(key).map(|(text, _)| text.to_owned());
        text.filter(|text| !text.is_empty())
    };
    let user = text(reader, "bootloader_user");
    if reader.find("bootloader").is_none_or(|setting| Accepted::Nothing.contains(&setting.value)) {
        for key in ["bootloader_args", "bootloader_restrict", "bootloader_user"] {
            // One that asks for nothing has its effect.
            if let Some(setting) = reader.find(key)
                && !Accepted::Nothing.contains(&setting.value)
            {
                reader.warn(setting.key_span, WarningKind::NoBootloader { key });
            }
        }
        return None;
    }
    let program = text(reader, "bootloader")?.into();
    let (kernel, ramdisk) = (text(reader, "kernel"), text(reader, "ramdisk"));
    Some(Box::new(Bootloader {
        program,
        args,
        restrict,
        user,
        kernel,
        ramdisk,
        cmdline: String::new(),
    }))
}

/// Returns `bootloader_args=`: a list of strings, or a string of words, which xl accepts, too.
fn args(reader: &mut Reader<'_>) -> Vec<String> {
    let key = "bootloader_args";
    let Some(setting) = reader.find(key) else { return Vec::new() };
    let Kind::List(values) = &setting.value.kind else {
        return reader.text(key).map(|(text, _)| words(text)).unwrap_or_default();
    };
    let mut args = Vec::new();
    for value in values {
        match &value.kind {
            Kind::Atom(Atom { text, .. }) => args.push(text.clone()),
            Kind::List(_) => {
                let wanted = "a list of arguments";
                let problem = ConfigProblem::Type { key, wanted, found: "a list in it" };
                reader.refuse(key, value.span, problem);
            }
        }
    }
    args
}

impl DomainConfig {
    /// Returns the name of a file of the guest for other processes and for later: a file that a
    /// bootloader has found is open in this process only, and is named after the program and the
    /// disk.
    pub(crate) fn lasting_path<'a>(&self, path: &'a Path) -> Cow<'a, Path> {
        match self.extras().bootloader.as_deref() {
            Some(bootloader) if path.starts_with(OPEN_FILES) => {
                let disk = self.disks.first().map_or("".as_ref(), |disk| disk.target.as_path());
                let name = format!("{}:{}", bootloader.name(), disk.display());
                Cow::Owned(PathBuf::from(name))
            }
            _ => Cow::Borrowed(path),
        }
    }
}

impl Bootloader {
    /// Returns the program's name without folders, for messages.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy()
    }
}
