// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who holds locks of a disk, as `/proc` says (proc(5), `fdinfo`).
//!
//! No file of another process is asked for anything: it might not answer.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Returns whether another process holds a lock of a disk and has it open for writing, or may have:
/// to see the files of other users' processes, the caller needs `CAP_SYS_PTRACE`. The caller holds a
/// lock of the disk. Takes time for each open file of the host.
///
/// # Errors
/// `/proc` cannot be read.
pub(crate) fn write(disk: &File) -> io::Result<bool> {
    let own = fs::read_to_string(format!("/proc/self/fdinfo/{}", disk.as_raw_fd()))?;
    let Some(locked) = locked(&own).next() else {
        return Err(io::Error::other("/proc does not show locks"));
    };
    let writes = |info: &str| is_writable(info) && self::locked(info).any(|other| other == locked);
    let myself = std::process::id().to_string();
    for process in fs::read_dir("/proc")? {
        let process = process?;
        let name = process.file_name();
        let is_process = name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit);
        if is_process && name != *myself && has(&process.path(), writes) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether a process has an open file of that kind, or may have.
fn has(process: &Path, is_it: impl Fn(&str) -> bool) -> bool {
    // Otherwise the process has ended or closed the file.
    let is_hidden = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let files = match fs::read_dir(process.join("fdinfo")) {
        Ok(files) => files,
        Err(error) => return is_hidden(&error),
    };
    let mut infos = files.flatten().map(|file| fs::read_to_string(file.path()));
    infos.any(|info| match info {
        Ok(info) => is_it(&info),
        Err(error) => is_hidden(&error),
    })
}

/// Returns what is locked through an open file: the device and the inode, as the kernel prints them.
fn locked(info: &str) -> impl Iterator<Item = &str> {
    let locks = info.lines().filter(|line| line.starts_with("lock:"));
    locks.filter_map(|line| line.split_whitespace().nth(6))
}

fn is_writable(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    // If the kernel does not say it, it may be.
    flags.is_none_or(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns whether the tests run with all rights. In some containers root does not have them.
    pub(crate) fn sees_all_processes() -> bool {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut processes = processes.map(|process| process.path()).filter(|path| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit())
        });
        !processes.any(|process| has(&process, |_| false))
    }

    #[test]
    fn locks_and_access_are_read() {
        let info = "pos:\t0\nflags:\t02100002\nmnt_id:\t30\nino:\t5\n\
                    lock:\t1: OFDLCK ADVISORY  READ -1 fd:01:5 100 101\n\
                    lock:\t2: POSIX  ADVISORY  WRITE 77 00:1a:6 0 EOF\n";
        assert!(locked(info).eq(["fd:01:5", "00:1a:6"]));
        assert!(is_writable(info) && is_writable("") && is_writable("flags:\t01\n"));
        assert!(!is_writable("flags:\t0100000\n"));
        assert_eq!(locked("pos:\t0\n").next(), None);
    }

    #[test]
    fn a_process_that_reads_writes_not() {
        if !sees_all_processes() {
            return;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let disk = File::options().read(true).write(true).open(file.path()).unwrap();
        assert!(write(&disk).is_err(), "it is not locked");
        assert!(crate::lock(&disk, true).unwrap());
        assert!(!write(&disk).unwrap());
        // A child that has the same lock and may write.
        let script = "exec 3<>\"$1\"; flock -s 3; echo; read -r _";
        let mut child = std::process::Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(file.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        assert!(write(&disk).unwrap());
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
