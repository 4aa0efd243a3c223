// SPDX-License-Identifier: GPL-3.0-or-later
//! The strings of `disk=` (xl-disk-configuration(5)).

use std::path::PathBuf;

use thiserror::Error;

use super::disk_format::DiskFormat;
use super::disk_prefix::strip_prefixes;
use super::vdev::vdev_number;

/// A disk of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// The file or block device, as the config names it. `docs/config.md` says where a relative path
    /// is looked up; a record and a message to chaosd have the absolute path.
    pub target: PathBuf,
    /// The format of the file.
    pub format: DiskFormat,
    /// Its name in the guest, such as `xvda`.
    pub vdev: String,
    /// The number of the name ([`vdev_number`]).
    pub id: u32,
    /// Whether the guest may read it only.
    pub read_only: bool,
}

/// Fields of xl that are not supported, and why.
const NOT_SUPPORTED: &[(&str, &str)] = &[
    ("active-disk", COLO),
    ("backend", "only dom0 serves disks; remove it"),
    ("colo", COLO),
    ("colo-export", COLO),
    ("colo-host", COLO),
    ("colo-port", COLO),
    ("hidden-disk", COLO),
    (
        "no-discard",
        "whether the guest can discard blocks depends on the file or the block device; remove it",
    ),
    (
        "script",
        "chaos runs no scripts; set the device up in dom0, name its node in /dev, and remove script=",
    ),
    ("untrusted", "the backend is always trusted; remove it"),
];

const COLO: &str = "chaos has no COLO replication; remove it";

/// Flags and keys that ask for the default, or for what does not matter: QEMU (`qdisk`) would serve a file as
/// noxsd does, and grants are for virtio.
const NO_EFFECT: &[&str] = &[
    "backend=0",
    "backendtype=phy",
    "backendtype=qdisk",
    "devtype=disk",
    "direct-io-safe",
    "discard",
    "grant_usage=0",
    "grant_usage=1",
    "no-colo",
    "script=",
    "script=block",
    "script=/etc/xen/scripts/block",
    "specification=xen",
    "trusted",
];

/// Fields that may be written without a key, in this order.
const POSITIONAL: [&str; 4] = ["target", "format", "vdev", "access"];

/// What may stand before a field.
const BLANKS: [char; 3] = [' ', '\t', '\n'];

/// What is wrong with a string of `disk=`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DiskProblem {
    /// The file or device is missing.
    #[error("the target is missing; begin with a file or a block device")]
    NoTarget,
    /// The name is missing.
    #[error("the disk's name in the guest is missing; add one such as xvda")]
    NoVdev,
    /// The name is not the name of a disk.
    #[error("vdev = {0}: must be the name of a disk, such as xvda")]
    Vdev(String),
    /// The format is not supported.
    #[error("format = {0}: must be raw, qcow2, qcow, vhd or qed{hint}", hint = conversion(.0))]
    Format(String),
    /// The target has an old prefix that is not supported.
    #[error("prefix {prefix} of the target is not supported: {why}")]
    Prefix {
        /// The prefix.
        prefix: &'static str,
        /// Why.
        why: &'static str,
    },
    /// The target has something like an old prefix.
    #[error(
        "unknown prefix {0} of the target; name a file or a block device without a prefix, and its format with format="
    )]
    UnknownPrefix(String),
    /// The access is neither read-only nor read-write.
    #[error("access = {0}: must be r, ro, w or rw")]
    Access(String),
    /// There are too many fields without a key.
    #[error("must have at most four fields without a key: target, format, vdev and access")]
    TooManyFields,
    /// The field of xl is not supported.
    #[error("{field} is not supported: {why}")]
    FieldNotSupported {
        /// The field.
        field: &'static str,
        /// Why.
        why: &'static str,
    },
    /// The field or its value is unknown or not supported.
    #[error("{key}={value} is not supported; remove it")]
    UnknownField {
        /// The field.
        key: String,
        /// Its value.
        value: String,
    },
}

fn conversion(format: &str) -> &'static str {
    match format {
        "vmdk" | "vhdx" | "vdi" => {
            "; convert the file: qemu-img convert -O raw OLD NEW, and name the new one"
        }
        _ if vdev_number(format).is_some() => {
            "; the format stands before the name, as in /a.img,raw,xvda,rw"
        }
        _ => "",
    }
}

/// What a string of `disk=` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ParsedDisk {
    /// A disk.
    Disk(DiskConfig),
    /// A CD drive without a medium, for which the guest gets no disk.
    EmptyDrive,
}

/// Parses one string of `disk=`. A CD in a drive is a disk that the guest only reads: that is what
/// xl gives PV and PVH guests for one.
///
/// # Errors
/// A field is missing, or not supported.
pub(super) fn parse_disk(text: &str) -> Result<ParsedDisk, DiskProblem> {
    let mut fields: [Option<&str>; 4] = [None; 4];
    let mut is_cdrom = false;
    let mut rest = text;
    loop {
        // xl strips a prefix of any field, such as that of ioemu:hda.
        let (trimmed, prefix) = strip_prefixes(rest.trim_start_matches(BLANKS))?;
        match prefix {
            // The last one counts, as in xl.
            Some(Some(format)) => fields[1] = Some(format),
            // Without a format: the next field after the target is the name.
            Some(None) => drop(fields[1].get_or_insert("raw")),
            None => {}
        }
        if let Some(target) = trimmed.strip_prefix("target=") {
            // The target is the rest of the string, including commas.
            fields[0] = Some(target);
            break;
        }
        let (field, after) = trimmed.split_once(',').map_or((trimmed, None), |(f, a)| (f, Some(a)));
        let field = field.trim_end_matches(BLANKS);
        let key = field.split_once('=').map_or(field, |(key, _)| key);
        if let Some((name, why)) = NOT_SUPPORTED.iter().find(|(name, _)| *name == key)
            && !NO_EFFECT.contains(&field)
        {
            return Err(DiskProblem::FieldNotSupported { field: name, why });
        }
        match field.split_once('=') {
            _ if NO_EFFECT.contains(&field) => {}
            _ if matches!(field, "cdrom" | "devtype=cdrom") => is_cdrom = true,
            Some(("format" | "vdev" | "access", value)) => {
                let index = POSITIONAL.iter().position(|name| *name == key).unwrap_or_default();
                fields[index] = Some(value);
            }
            Some((key, value)) if !field.starts_with(['/', '.']) => {
                return Err(DiskProblem::UnknownField {
                    key: key.to_owned(),
                    value: value.to_owned(),
                });
            }
            _ => {
                // The first one that no prefix, key or field before has set.
                let at = fields.iter().position(Option::is_none);
                let mut at = at.ok_or(DiskProblem::TooManyFields)?;
                // The old form of a name and a type. It may follow an empty target.
                let typed =
                    field.rsplit_once(':').filter(|(_, kind)| ["cdrom", "disk"].contains(kind));
                if typed.is_some() && at == 1 && fields[0] == Some("") {
                    fields[1] = Some("");
                    at = 2;
                }
                fields[at] = Some(match typed {
                    Some((name, kind)) if at == 2 => {
                        is_cdrom |= kind == "cdrom";
                        name
                    }
                    _ => field,
                });
            }
        }
        match after {
            Some(after) => rest = after,
            None => break,
        }
    }
    let [target, format, vdev, access] = fields.map(|field| field.filter(|text| !text.is_empty()));
    let target = match target {
        None if !is_cdrom => return Err(DiskProblem::NoTarget),
        target => target,
    };
    let vdev = vdev.ok_or(DiskProblem::NoVdev)?;
    let format = match format {
        None => DiskFormat::Raw,
        Some("empty") if target.is_none() => DiskFormat::Raw,
        Some(name) => {
            DiskFormat::of_name(name).ok_or_else(|| DiskProblem::Format(name.to_owned()))?
        }
    };
    let read_only = match access {
        None | Some("w" | "rw") => is_cdrom,
        Some("r" | "ro") => true,
        Some(access) => return Err(DiskProblem::Access(access.to_owned())),
    };
    let id = vdev_number(vdev).ok_or_else(|| DiskProblem::Vdev(vdev.to_owned()))?;
    let Some(target) = target else { return Ok(ParsedDisk::EmptyDrive) };
    let target = target.into();
    Ok(ParsedDisk::Disk(DiskConfig { target, format, vdev: vdev.to_owned(), id, read_only }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn disk(text: &str) -> (String, u32, bool) {
        match parse_disk(text) {
            Ok(ParsedDisk::Disk(DiskConfig { target, id, read_only, .. })) => {
                (target.display().to_string(), id, read_only)
            }
            parsed => panic!("{text}: {parsed:?}"),
        }
    }

    #[test]
    fn usual_disks_are_parsed() {
        let a = ("/a.img".to_owned(), 51712, false);
        for text in [
            "/a.img,raw,xvda,rw",
            "/a.img,,xvda",
            "file:/a.img,xvda,w",
            "aio:/a.img,xvda:disk,w",
            "format=raw, vdev=xvda, access=rw, target=/a.img",
            "/a.img,raw,xvda,w,backendtype=phy,direct-io-safe,discard",
            "/a.img,raw,xvda,w,backendtype=qdisk,script=block,no-colo",
            "tap:aio:/a.img,xvda,w",
            "ioemu:/a.img,xvda,w",
            "phy:/a.img,ioemu:xvda,w",
            "/a.img,raw,0xCA00,w",
            "/a.img,raw,d0p0,w",
            " \tfile:/a.img,\txvda , w",
            "vdev=xvda,/a.img,raw,w",
            "access=w,format=raw,/a.img,xvda",
            "backendtype=phy,phy:/a.img,xvda",
        ] {
            assert_eq!(disk(text), a, "{text}");
        }
        assert_eq!(disk("phy:/dev/vg/x,xvda1,r"), ("/dev/vg/x".into(), 51713, true));
        assert_eq!(disk("vdev=xvdb,access=ro,target=/a,b.img"), ("/a,b.img".into(), 51728, true));
        assert_eq!(disk("vg/x,raw,xvda"), ("vg/x".into(), 51712, false));
        assert_eq!(disk("./a=b.img,raw,xvda"), ("./a=b.img".into(), 51712, false));
    }

    #[test]
    fn the_format_is_a_field_or_a_prefix() {
        let format = |text: &str| match parse_disk(text) {
            Ok(ParsedDisk::Disk(disk)) => {
                assert_eq!((disk.target.as_path(), disk.id), ("/a.img".as_ref(), 51712), "{text}");
                disk.format
            }
            parsed => panic!("{text}: {parsed:?}"),
        };
        for (text, expected) in [
            ("/a.img,raw,xvda,rw", DiskFormat::Raw),
            ("/a.img,qcow2,xvda,rw", DiskFormat::Qcow2),
            ("/a.img,qcow,xvda,rw", DiskFormat::Qcow),
            ("/a.img,vhd,xvda,r", DiskFormat::Vhd),
            ("vdev=xvda,format=qed,target=/a.img", DiskFormat::Qed),
            ("qcow2:/a.img,xvda,w", DiskFormat::Qcow2),
            ("tap:qcow2:/a.img,xvda,w", DiskFormat::Qcow2),
            ("tap2:vhd:/a.img,xvda,w", DiskFormat::Vhd),
            ("tap:qcow:/a.img,xvda,w", DiskFormat::Qcow),
            ("format=qcow2,file:/a.img,xvda,w", DiskFormat::Qcow2),
            ("format=raw,qcow2:/a.img,xvda,w", DiskFormat::Qcow2),
            ("tap:aio:/a.img,xvda,w", DiskFormat::Raw),
            ("/a.img,qcow2,xvda:cdrom,r", DiskFormat::Qcow2),
        ] {
            assert_eq!(format(text), expected, "{text}");
        }
    }

    #[test]
    fn a_cd_is_a_disk_that_is_only_read() {
        let a = ("/a.iso".to_owned(), 22 << 8, true);
        for text in [
            "/a.iso,,hdc,cdrom",
            "/a.iso,raw,hdc:cdrom,r",
            "/a.iso,raw,hdc:cdrom,rw",
            "file:/a.iso,hdc:cdrom,r",
            "/a.iso,raw,hdc,r,devtype=cdrom",
            "format=raw, vdev=hdc, access=w, devtype=cdrom, target=/a.iso",
            "cdrom,/a.iso,raw,hdc",
        ] {
            assert_eq!(disk(text), a, "{text}");
        }
        for text in [
            ",,hdc:cdrom,r",
            ",hdc:cdrom,r",
            ",empty,hdc,cdrom",
            "vdev=hdc,cdrom,target=",
            ",,hdc,r,cdrom",
        ] {
            assert_eq!(parse_disk(text), Ok(ParsedDisk::EmptyDrive), "{text}");
        }
    }

    #[test]
    fn the_error_names_what_is_wrong() {
        for (text, why) in [
            ("", "target"),
            ("/a.img", "xvda"),
            (
                "/a.img,vmdk,xvda,rw",
                "format = vmdk: must be raw, qcow2, qcow, vhd or qed; convert the",
            ),
            ("/a.img,raw,xvda,x", "access"),
            ("/a.img,raw,nvme0n1", "nvme0n1"),
            ("/a.iso,hdc:cdrom,r", "format = hdc:cdrom: must be raw, qcow2"),
            ("/a.iso,raw,nvme0:cdrom,r", "vdev = nvme0: must be the name of a disk"),
            ("/a.iso,raw,hdc:cdrom,x", "access = x"),
            ("/a.iso,empty,hdc,cdrom", "format = empty"),
            (",,,cdrom", "xvda"),
            (",empty,xvda", "target"),
            (
                "/a.img,xvda,rw",
                "format = xvda: must be raw, qcow2, qcow, vhd or qed; the format stands before the name",
            ),
            ("iscsi:iqn=iqn.x:y,portal=z,xvda,w", "prefix iscsi: of the target is not supported"),
            (
                "nbd:10.0.0.1:1,xvda,w",
                "prefix nbd: of the target is not supported: it needs a script",
            ),
            ("vmdk:/a.img,xvda,w", "unknown prefix vmdk: of the target"),
            (
                "/a.img,raw,xvda,rw,script=block-iscsi",
                "script is not supported: chaos runs no scripts; set the device up in dom0",
            ),
            ("/a.img,raw,xvda,rw,colo,colo-host=x", "colo is not supported: chaos has no COLO"),
            ("/a.img,raw,xvda,rw,backendtype=tap", "backendtype=tap is not supported"),
            ("vdev=xvda,/a.img,raw,w,more", "four fields"),
            ("/a.img,raw,xvda,rw,more", "four fields"),
        ] {
            let problem = parse_disk(text).unwrap_err().to_string();
            assert!(problem.contains(why), "{text}: {problem}");
        }
    }

    /// Returns fields that are likely to be right, and any others.
    fn field() -> impl Strategy<Value = String> {
        let usual: &'static [&'static str] = &[
            "",
            "/a",
            "b/c",
            "raw",
            "qcow2",
            "xvda",
            "xvdzz255",
            "xvda256",
            "sdq",
            "hdc:cdrom",
            "cdrom",
            "r",
            "w",
            "hda:disk",
            "format=raw",
            "vdev=xvdb",
            "vdev=",
            "access=r",
            "access=x",
            "target=/a",
            " xvda ",
        ];
        prop_oneof![prop::sample::select(usual).prop_map(str::to_owned), "[ -~]{0,6}"]
    }

    proptest! {
        #[test]
        fn any_text_is_a_disk_or_an_error(
            prefix in prop::sample::select(&["", "", "phy:", "file:", "iscsi:", "qcow2:"][..]),
            fields in prop::collection::vec(field(), 0..6),
        ) {
            let text = format!("{prefix}{}", fields.join(","));
            if let Ok(ParsedDisk::Disk(disk)) = parse_disk(&text) {
                prop_assert_eq!(vdev_number(&disk.vdev), Some(disk.id));
                // What is parsed means the same if it is written out in full.
                let access = if disk.read_only { "r" } else { "w" };
                let target = disk.target.display();
                let format = disk.format.name();
                let full =
                    format!("vdev={},format={format},access={access},target={target}", disk.vdev);
                prop_assert_eq!(parse_disk(&full), Ok(ParsedDisk::Disk(disk)));
            }
        }
    }
}
