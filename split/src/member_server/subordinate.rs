// SPDX-License-Identifier: GPL-3.0-or-later
//! Subordinate users: the user IDs that root has allotted to a user in subuid(5), for user
//! namespaces.
//!
//! In a user namespace, a process of the user can take each of these 65,536 IDs (newuidmap(1)), and
//! keeps the group that may connect. The limits of a user would count for nothing.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where root allots them.
pub const SUBORDINATE_USERS: &str = "/etc/subuid";

/// The largest file that is read, in bytes: some 150,000 users.
const MAX_FILE: u64 = 4 << 20;

/// Why a user may not connect.
#[derive(Debug, thiserror::Error)]
pub(super) enum SubordinateRefusal {
    /// It is a subordinate user.
    #[error(
        "user {uid} is a subordinate user of {owner} ({}), and has no limits of its own; run this \
         command as {owner}, outside of containers",
        path.display()
    )]
    Subordinate {
        /// The user.
        uid: u32,
        /// The user to whom the ID is allotted.
        owner: String,
        /// The file that says so.
        path: PathBuf,
    },
    /// It is unknown whether it is one.
    #[error(
        "chaosd cannot find out whether user {uid} is a subordinate user: cannot read {}: {source}; \
         ask root to correct this",
        path.display()
    )]
    Unknown {
        /// The user.
        uid: u32,
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: io::Error,
    },
}

/// Checks that a user is not a subordinate user of another one. Without the file, none is.
///
/// # Errors
/// It is one, or the file cannot be read.
pub(super) fn check(path: &Path, uid: u32) -> Result<(), SubordinateRefusal> {
    let text = read(path).map_err(|source| SubordinateRefusal::Unknown {
        uid,
        path: path.to_owned(),
        source,
    })?;
    match owner(&text, uid) {
        None => Ok(()),
        Some(owner) => {
            let owner = String::from_utf8_lossy(owner).into_owned();
            Err(SubordinateRefusal::Subordinate { uid, owner, path: path.to_owned() })
        }
    }
}

/// Returns the content of the file, which is empty if it does not exist.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe is opened without waiting for a writer.
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("larger than {} MiB", MAX_FILE >> 20)));
    }
    Ok(text)
}

/// Returns the other user to whom a user ID is allotted. Like newuidmap, ignores lines that are
/// malformed. Root may allot itself the IDs of real users, for containers of its own.
fn owner(text: &[u8], uid: u32) -> Option<&[u8]> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let owner = fields.next()?;
        let [start, count] = [number(fields.next()?)?, number(fields.next()?)?];
        // More fields may follow.
        let is_allotted = u64::from(uid).checked_sub(start).is_some_and(|offset| offset < count);
        let is_left_out = owner == b"root"
            || owner.starts_with(b"#")
            || number(owner).is_some_and(|own| own == 0 || own == u64::from(uid));
        (is_allotted && !is_left_out).then_some(owner)
    })
}

/// Returns a number as strtoul(3) reads it: decimal, 0x and hexadecimal, or 0 and octal.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u64::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_in_a_range_of_another_user_is_found() {
        let text = b"alice:100000:65536\nbob:165536:65536\nroot:1000:1\n0:1001:1\n1002:1002:1\n\
                     # carol:1:10\ncarol:1\ncarol:x:5\ncarol:20:5:5\ncarol:+30:+5\ncarol:-1:5\n:7:1\n\
                     dave:0x30000000:0200000\neve:4294967295:18446744073709551615";
        let found = |uid| owner(text, uid).map(|owner| String::from_utf8_lossy(owner).into_owned());
        for (uid, expected) in [
            (99_999, None),
            (100_000, Some("alice")),
            (165_535, Some("alice")),
            (165_536, Some("bob")),
            (231_072, None),
            (1000, None),
            (1001, None),
            (1002, None),
            (5, None),
            (20, Some("carol")),
            (34, Some("carol")),
            (35, None),
            (7, Some("")),
            (0x3000_0000, Some("dave")),
            (0x3000_ffff, Some("dave")),
            (0x3001_0000, None),
            (u32::MAX, Some("eve")),
        ] {
            assert_eq!(found(uid).as_deref(), expected, "{uid}");
        }
    }

    #[test]
    fn without_a_file_no_user_is_subordinate_and_with_one_that_cannot_be_read_none_connects() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("subuid");
        assert!(check(&path, 7).is_ok());
        fs::write(&path, "alice:7:1").unwrap();
        assert!(check(&path, 8).is_ok());
        let refused = check(&path, 7).unwrap_err().to_string();
        assert!(refused.starts_with("user 7 is a subordinate user of alice ("), "{refused}");
        let refused = check(folder.path(), 8).unwrap_err().to_string();
        assert!(refused.ends_with("not a regular file; ask root to correct this"), "{refused}");
        fs::write(&path, vec![b'\n'; 1 + usize::try_from(MAX_FILE).unwrap()]).unwrap();
        let refused = check(&path, 8).unwrap_err().to_string();
        assert!(refused.contains("larger than 4 MiB"), "{refused}");
    }

    proptest! {
        #[test]
        fn any_content_is_read(bytes in prop::collection::vec(any::<u8>(), 0..200), uid: u32) {
            owner(&bytes, uid);
            let text = [&bytes[..], b"\nalice:9:1\n"].concat();
            prop_assert!(owner(&text, 9).is_some());
        }
    }
}
