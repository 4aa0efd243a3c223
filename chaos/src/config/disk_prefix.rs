// SPDX-License-Identifier: GPL-3.0-or-later
//! The old prefixes of a disk's target, such as `phy:` (`libxlu_disk_l.l`).

use super::disk::DiskProblem;

/// What a prefix means.
#[derive(Clone, Copy, Debug)]
enum Prefix {
    /// xl strips it, and the target itself shows what it is: a raw file or a device.
    Stripped,
    /// It names the format, as `format=` does.
    Format(&'static str),
    /// It is refused, and why.
    Refused(&'static str),
}

use Prefix::{Format, Refused, Stripped};

const PREFIXES: &[(&str, Prefix)] = &[
    ("aio:", Stripped),
    ("drbd:", Refused(DRBD)),
    ("enbd:", Refused(NBD)),
    ("file:", Stripped),
    ("ioemu:", Stripped),
    ("iscsi:", Refused(ISCSI)),
    ("nbd:", Refused(NBD)),
    ("phy:", Stripped),
    ("qcow2:", Format("qcow2")),
    ("qcow:", Format("qcow")),
    ("raw:", Format("raw")),
    ("tap2:", Stripped),
    ("tap:", Stripped),
    ("tapdisk:", Stripped),
    ("vhd:", Format("vhd")),
];

const DRBD: &str = "it needs a script, and chaos runs none; make the resource primary in dom0 (drbdadm primary), \
                    and name its device, such as /dev/drbd0";
const ISCSI: &str = "it needs a script, and chaos runs none; log in in dom0 (iscsiadm --login), and name the \
                     device, such as one in /dev/disk/by-path";
const NBD: &str = "it needs a script, and chaos runs none; connect the device in dom0 (nbd-client), and name \
                   it, such as /dev/nbd0";

/// Strips all prefixes. Returns also whether there was one, and the format that the last one of those
/// names which name one.
///
/// # Errors
/// There is one that is refused, or unknown.
pub(super) fn strip_prefixes(
    text: &str,
) -> Result<(&str, Option<Option<&'static str>>), DiskProblem> {
    let (mut rest, mut found) = (text, None);
    while let Some(end) = prefix_end(rest) {
        match PREFIXES.iter().find(|(prefix, _)| *prefix == &rest[..end]) {
            Some((_, Stripped)) => found = found.or(Some(None)),
            Some((_, Format(format))) => found = Some(Some(*format)),
            Some((prefix, Refused(why))) => return Err(DiskProblem::Prefix { prefix, why }),
            // As in xl, a file name may begin like a prefix.
            None if rest[end..]
                .starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) =>
            {
                break;
            }
            None => return Err(DiskProblem::UnknownPrefix(rest[..end].to_owned())),
        }
        rest = &rest[end..];
    }
    Ok((rest, found))
}

/// Returns the length of what has the form of a prefix.
fn prefix_end(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit())?;
    let is_prefix =
        text.starts_with(|c: char| c.is_ascii_lowercase()) && text[end..].starts_with(':');
    is_prefix.then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_raw_files_and_devices_are_stripped() {
        for (text, rest) in [
            ("phy:/dev/x", "/dev/x"),
            ("file:images/a", "images/a"),
            ("tap:aio:/a", "/a"),
            ("tap2:tapdisk:/a", "/a"),
            ("ioemu:/a", "/a"),
            ("phy:", ""),
        ] {
            assert_eq!(strip_prefixes(text), Ok((rest, Some(None))), "{text}");
        }
        for text in ["/phy:a", "a/b:c", "", "vg:data", "A:/a", "1a:/b", "/dev/disk/by-path/a:b"] {
            assert_eq!(strip_prefixes(text), Ok((text, None)), "{text}");
        }
    }

    #[test]
    fn a_prefix_may_name_the_format() {
        for (text, rest, format) in [
            ("raw:/a", "/a", "raw"),
            ("qcow2:/a", "/a", "qcow2"),
            ("tap:qcow:/a", "/a", "qcow"),
            ("tap:vhd:/a", "/a", "vhd"),
            ("qcow2:file:/a", "/a", "qcow2"),
        ] {
            assert_eq!(strip_prefixes(text), Ok((rest, Some(Some(format)))), "{text}");
        }
    }

    #[test]
    fn other_prefixes_are_named_with_what_to_do() {
        for (text, message) in [
            ("iscsi:iqn=a", "prefix iscsi: of the target is not supported: it needs a script, and"),
            (
                "nbd:10.0.0.1:1",
                "prefix nbd: of the target is not supported: it needs a script, and",
            ),
            ("enbd:x", "prefix enbd: of the target is not supported: it needs a script, and chaos"),
            (
                "drbd:r0",
                "prefix drbd: of the target is not supported: it needs a script, and chaos",
            ),
            ("vmdk:/a", "unknown prefix vmdk: of the target; name a file or a block device"),
        ] {
            let problem = strip_prefixes(text).unwrap_err().to_string();
            assert!(problem.starts_with(message), "{text}: {problem}");
        }
    }
}
