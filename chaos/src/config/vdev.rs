// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of disks and their numbers.

use super::number::parse_number;

/// Returns the number of a disk in XenStore from its name, as Xen's
/// `docs/man/xen-vbd-interface.7.pandoc` defines it. `None` if it is not the name of a disk.
#[must_use]
pub fn vdev_number(vdev: &str) -> Option<u32> {
    if let Some(name) = vdev.strip_prefix("xvd") {
        let (disk, part) = letters(name)?;
        return xvd(disk, part);
    }
    if let Some((disk, part)) = vdev.strip_prefix('d').and_then(|name| name.split_once('p')) {
        return xvd(number(disk)?, number(part)?);
    }
    if let Some(number) = number(vdev) {
        return Some(number);
    }
    if let Some(name) = vdev.strip_prefix("sd") {
        let (disk, part) = letters(name)?;
        return (disk < 16 && part < 16).then_some(8 << 8 | disk << 4 | part);
    }
    let name = vdev.strip_prefix("hd")?;
    let (disk, part) = letters(name)?;
    let major = if disk < 2 { 3 } else { 22 };
    (disk < 4 && part < 64).then_some(major << 8 | (disk & 1) << 6 | part)
}

fn xvd(disk: u32, part: u32) -> Option<u32> {
    match (disk, part) {
        (..16, ..16) => Some(202 << 8 | disk << 4 | part),
        (..0x10_0000, ..256) => Some(1 << 28 | disk << 8 | part),
        _ => None,
    }
}

/// Parses a number as C does. `None` also if xl would take it for a negative one.
fn number(text: &str) -> Option<u32> {
    let number = parse_number(text).ok()?;
    i32::try_from(number).ok()?.try_into().ok()
}

/// Returns the disk and the partition: `b` is disk 1, `aa` disk 26, `b3` partition 3 of disk 1.
fn letters(name: &str) -> Option<(u32, u32)> {
    let end = name.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(name.len());
    let (letters, digits) = name.split_at(end);
    let disk = letters.bytes().try_fold(0u32, |disk, letter| {
        disk.checked_mul(26)?.checked_add(u32::from(letter - b'a') + 1)
    })?;
    let part = match digits {
        "" => 0,
        digits if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) => {
            return None;
        }
        digits => digits.parse().ok()?,
    };
    Some((disk.checked_sub(1)?, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_numbers_that_xen_defines() {
        for (name, number) in [
            ("xvda", 51712),
            ("xvdp15", 51712 + 255),
            ("xvdq", 1 << 28 | 16 << 8),
            ("xvdaa", 1 << 28 | 26 << 8),
            ("xvda16", 1 << 28 | 16),
            ("sdb2", 8 << 8 | 1 << 4 | 2),
            ("hdd1", 22 << 8 | 1 << 6 | 1),
            ("d0p0", 51712),
            ("d1p2", 51712 + 16 + 2),
            ("d26p0", 1 << 28 | 26 << 8),
            ("0xCA00", 51712),
            ("51713", 51713),
        ] {
            assert_eq!(vdev_number(name), Some(number), "{name}");
        }
        for name in [
            "xvd",
            "xvda01",
            "xvdA",
            "sdq",
            "hde",
            "vda",
            "xvdzzzzzzzzzz",
            "xvda-1",
            "d0",
            "dap1",
            "d0p256",
            "2147483648",
        ] {
            assert_eq!(vdev_number(name), None, "{name}");
        }
    }
}
