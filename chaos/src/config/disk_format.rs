// SPDX-License-Identifier: GPL-3.0-or-later
//! The formats of the files behind disks.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// The format of the file behind a disk. The config says it; what the file contains is never used to guess
/// it, because the guest may write what makes a raw file look like another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// The sectors as they are, or a block device.
    #[default]
    Raw,
    /// qcow2 of QEMU.
    Qcow2,
    /// qcow of QEMU.
    Qcow,
    /// VHD of Virtual PC.
    Vhd,
    /// QED of QEMU.
    Qed,
}

/// Those that QEMU opens.
const IMAGES: [DiskFormat; 4] =
    [DiskFormat::Qcow2, DiskFormat::Qcow, DiskFormat::Vhd, DiskFormat::Qed];

impl DiskFormat {
    /// Returns the format with a name of xl's `format=`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Raw].into_iter().chain(IMAGES).find(|format| format.name() == name)
    }

    /// Returns its name in xl's `format=`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Qcow => "qcow",
            Self::Vhd => "vhd",
            Self::Qed => "qed",
        }
    }

    /// Returns QEMU's name of it (`bdrv_qcow2`, `bdrv_vpc` and so on).
    #[must_use]
    pub fn driver(self) -> &'static str {
        match self {
            Self::Vhd => "vpc",
            format => format.name(),
        }
    }

    /// Returns an absolute target with the format in front of it, as in `qcow2:/a.img`; the target alone if
    /// it is raw. Messages and records have this form: an absolute path begins with a slash.
    pub(crate) fn prefixed(self, target: &Path) -> String {
        let target = target.to_string_lossy();
        match self {
            Self::Raw => target.into_owned(),
            format => format!("{}:{target}", format.name()),
        }
    }

    /// Splits what [`prefixed`](Self::prefixed) has returned.
    pub(crate) fn split(text: String) -> (Self, PathBuf) {
        let split = |format: DiskFormat| {
            let target = text.strip_prefix(format.name())?.strip_prefix(':')?;
            target.starts_with('/').then(|| (format, target.into()))
        };
        IMAGES.into_iter().find_map(split).unwrap_or_else(|| (Self::Raw, text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_has_a_name_of_its_own_and_a_driver() {
        for format in [DiskFormat::Raw].into_iter().chain(IMAGES) {
            assert_eq!(DiskFormat::of_name(format.name()), Some(format));
        }
        assert_eq!(DiskFormat::Vhd.driver(), "vpc");
        assert_eq!(DiskFormat::Qcow2.driver(), "qcow2");
        for name in ["vmdk", "", "QCOW2", "vpc"] {
            assert_eq!(DiskFormat::of_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_target_with_a_format_is_split_again() {
        for format in [DiskFormat::Raw].into_iter().chain(IMAGES) {
            let target = Path::new("/srv/qcow2:/a:b.img");
            let text = format.prefixed(target);
            assert_eq!(DiskFormat::split(text), (format, target.to_owned()));
        }
        // A path of a record that begins like that is not absolute.
        let relative = "qcow2:a.img".to_owned();
        assert_eq!(DiskFormat::split(relative), (DiskFormat::Raw, "qcow2:a.img".into()));
    }
}
