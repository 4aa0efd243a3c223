// SPDX-License-Identifier: GPL-3.0-or-later
//! Looks at files before opening them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, open, openat2, stat};
use rustix::io::Errno;

/// Opens the file at a path for reading, with some flags more, if `check` accepts it. Follows
/// links. Returns what `check` returned, too.
///
/// Opening a device can have an effect, such as starting a watchdog that resets the host, or
/// rewinding a tape. Whether a path leads to one can change between a look and opening it. So a
/// device that `check` refuses is never opened, whatever other users do to the path.
///
/// # Errors
/// An error of `check`. Or `failed` of the kernel's error: the file is missing, this user must not
/// read it, or a link leads to it and /proc is not mounted.
pub(crate) fn open_checked<T, E>(
    path: &Path,
    flags: OFlags,
    check: impl Fn(&Stat) -> Result<T, E>,
    failed: impl Fn(io::Error) -> E,
) -> Result<(File, T), E> {
    let failed = |errno: Errno| failed(errno.into());
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC | flags;
    let seen = stat(path).map_err(failed)?;
    let checked = check(&seen)?;
    if let Some(file) = open_regular(path, flags, &seen) {
        return Ok((file, checked));
    }
    // What a descriptor of this kind refers to stays the same, and can be opened through /proc. The
    // kernel takes longer for that: it has to make three entries of /proc.
    let found = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    let checked = check(&fstat(&found).map_err(failed)?)?;
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    Ok((open(path, flags, Mode::empty()).map_err(failed)?.into(), checked))
}

/// Opens a regular file that was seen at a path, if no link leads to it.
///
/// Without a link, only root can lead the path to a device meanwhile: other users cannot make one,
/// and what they mount has none. Opening anything else has no effect, and does not wait.
fn open_regular(path: &Path, flags: OFlags, seen: &Stat) -> Option<File> {
    if FileType::from_raw_mode(seen.st_mode) != FileType::RegularFile {
        return None;
    }
    let flags = flags | OFlags::NONBLOCK;
    Some(openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()?.into())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Opens a regular file. Calls `meanwhile` after the first look.
    fn open_file(path: &Path, meanwhile: impl Fn()) -> Result<String, String> {
        let looks = Cell::new(0);
        let check = |stat: &Stat| {
            let kind = FileType::from_raw_mode(stat.st_mode);
            let result = if kind == FileType::RegularFile { Ok(kind) } else { Err("kind".into()) };
            if looks.replace(looks.get() + 1) == 0 {
                meanwhile();
            }
            result
        };
        let (mut file, kind) =
            open_checked(path, OFlags::empty(), check, |error| error.to_string())?;
        assert_eq!(kind, FileType::RegularFile);
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| error.to_string())?;
        Ok(text)
    }

    #[test]
    fn a_file_is_opened_by_its_path_and_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&path, "text").unwrap();
        symlink(&path, &link).unwrap();
        assert_eq!(open_file(&path, || {}).unwrap(), "text");
        assert_eq!(open_file(&link, || {}).unwrap(), "text");
        assert_eq!(open_file("/dev/null".as_ref(), || {}).unwrap_err(), "kind");
        assert!(open_file("/no/such/file".as_ref(), || {}).unwrap_err().contains("No such file"));
    }

    #[test]
    fn what_takes_the_place_of_a_file_after_the_look_is_no_device() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let replaced_by = |make: &dyn Fn()| {
            let _ = fs::remove_file(&path);
            fs::write(&path, "first").unwrap();
            open_file(&path, || {
                fs::rename(&path, folder.path().join("moved")).unwrap();
                make();
            })
        };
        let second = || fs::write(&path, "second").unwrap();
        assert_eq!(replaced_by(&second).unwrap(), "second");
        let link = || symlink("/dev/zero", &path).unwrap();
        assert_eq!(replaced_by(&link).unwrap_err(), "kind");
        let pipe = || nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(replaced_by(&pipe).unwrap(), "", "without waiting for a writer");
        assert!(replaced_by(&|| {}).unwrap_err().contains("No such file"));
    }
}
