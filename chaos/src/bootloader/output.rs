// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads what a bootloader has written: its result in the format `simple0`, and the files that the
//! result names. All of it may be a guest's.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};

use super::BootFiles;
use super::error::OutputProblem;
use crate::config::MAX_COMMAND_LINE;
use crate::image::MAX_SIZE;

/// The longest result in bytes. libxl ignores items longer than 8 KiB.
const MAX_RESULT: u64 = 64 << 10;

/// What a result says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found<'a> {
    kernel: Option<&'a [u8]>,
    ramdisk: Option<&'a [u8]>,
    args: Option<&'a [u8]>,
}

/// Opens what a bootloader has written to `folder`. The program must have ended.
///
/// # Errors
/// The result or a file in it cannot be used.
pub(super) fn collect(folder: &Path, result: &Path) -> Result<BootFiles, OutputProblem> {
    let mut bytes = Vec::new();
    let file = open(folder, result, "result")?;
    (file.take(MAX_RESULT + 1).read_to_end(&mut bytes)).map_err(OutputProblem::Read)?;
    if bytes.len() as u64 > MAX_RESULT {
        return Err(OutputProblem::TooLong(MAX_RESULT));
    }
    let Found { kernel, ramdisk, args } = parse(&bytes)?;
    let path = |bytes| Path::new(OsStr::from_bytes(bytes));
    let kernel = open_image(folder, path(kernel.ok_or(OutputProblem::NoKernel)?), "kernel")?;
    let ramdisk = ramdisk.map(|bytes| open_image(folder, path(bytes), "ramdisk")).transpose()?;
    if ramdisk.as_ref().is_some_and(|(_, ino)| *ino == kernel.1) {
        return Err(OutputProblem::Same);
    }
    let cmdline = String::from_utf8(args.unwrap_or_default().to_vec());
    let cmdline = cmdline.map_err(|_| OutputProblem::NotText)?;
    if cmdline.len() > MAX_COMMAND_LINE {
        let (length, most) = (cmdline.len(), MAX_COMMAND_LINE);
        return Err(OutputProblem::CommandLine { length, most });
    }
    Ok(BootFiles { kernel: kernel.0, ramdisk: ramdisk.map(|(file, _)| file), cmdline })
}

/// Parses a result: items that end with a zero byte, each a word, blanks and a value. As in libxl,
/// other items are ignored.
fn parse(bytes: &[u8]) -> Result<Found<'_>, OutputProblem> {
    let mut found = Found::default();
    for item in bytes.split(|byte| *byte == 0) {
        let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
        let Some(end) = item.iter().position(is_blank) else { continue };
        let (word, rest) = item.split_at(end);
        let value = &rest[rest.iter().position(|byte| !is_blank(byte)).unwrap_or(rest.len())..];
        let (slot, what) = match word {
            b"kernel" => (&mut found.kernel, "a kernel"),
            b"ramdisk" => (&mut found.ramdisk, "a ramdisk"),
            b"args" => (&mut found.args, "a command line"),
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(OutputProblem::Twice(what));
        }
    }
    Ok(found)
}

/// Opens a kernel or a ramdisk, and returns its inode number, too.
fn open_image(
    folder: &Path,
    path: &Path,
    what: &'static str,
) -> Result<(File, u64), OutputProblem> {
    let file = open(folder, path, what)?;
    let stat = fstat(&file).map_err(|errno| OutputProblem::Open { what, source: errno.into() })?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if !(1..=MAX_SIZE).contains(&size) {
        return Err(OutputProblem::Size { what, size, most: MAX_SIZE });
    }
    Ok((file, stat.st_ino))
}

/// Opens a regular file directly in a folder, without following a link.
fn open(folder: &Path, path: &Path, what: &'static str) -> Result<File, OutputProblem> {
    let failed = |errno: rustix::io::Errno| OutputProblem::Open { what, source: errno.into() };
    let name = path.strip_prefix(folder).ok().map(Path::components);
    let name = name.and_then(|mut parts| match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) => Some(name),
        _ => None,
    });
    let name = name.ok_or(OutputProblem::Outside(what))?;
    let path_only = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder =
        openat(CWD, folder, path_only | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
    // A device is not opened: that can have an effect.
    let seen = openat(&folder, name, path_only, Mode::empty()).map_err(failed)?;
    let stat = fstat(&seen).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(OutputProblem::NotRegular(what));
    }
    open_seen(&folder, name, &stat, what)
}

/// Opens a regular file that was seen, and no other one. No process of the program is left that could
/// replace it, but the user of `bootloader_user=` may have others. openat2 would rule that out, too, but
/// chaosd's unit forbids it.
fn open_seen(
    folder: &OwnedFd,
    name: &OsStr,
    seen: &Stat,
    what: &'static str,
) -> Result<File, OutputProblem> {
    let failed = |errno: rustix::io::Errno| OutputProblem::Open { what, source: errno.into() };
    // Opening a FIFO does not wait. Of a regular file, reading is the same.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::empty()).map_err(failed)?;
    let opened = fstat(&file).map_err(failed)?;
    match (opened.st_dev, opened.st_ino) == (seen.st_dev, seen.st_ino) {
        true => Ok(file.into()),
        false => Err(OutputProblem::Replaced(what)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Returns what is collected from a folder with the files `k` and `r`, `result`, where `@` is the
    /// folder, and what `more` adds.
    fn collected(result: &[u8], more: impl Fn(&Path)) -> Result<(String, bool), String> {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::write(folder.join("k"), "kernel").unwrap();
        fs::write(folder.join("r"), "ramdisk").unwrap();
        let mut bytes = Vec::new();
        for byte in result {
            match byte {
                b'@' => bytes.extend(folder.as_os_str().as_bytes()),
                byte => bytes.push(*byte),
            }
        }
        let path = folder.join("result");
        fs::write(&path, bytes).unwrap();
        more(folder);
        let mut files = collect(folder, &path).map_err(|problem| problem.to_string())?;
        let mut kernel = String::new();
        files.kernel.read_to_string(&mut kernel).unwrap();
        Ok((format!("{kernel} {}", files.cmdline), files.ramdisk.is_some()))
    }

    #[test]
    fn a_result_of_pygrub_is_read() {
        let read = |result| collected(result, |_| {}).unwrap();
        let all = b"kernel @/k\0ramdisk @/r\0args root=/dev/xvda ro\0\0";
        assert_eq!(read(all), ("kernel root=/dev/xvda ro".into(), true));
        assert_eq!(read(b"kernel @/k\0\0"), ("kernel ".into(), false));
        // As libxl, which takes any blanks, ignores what it does not know, and needs no last zero.
        let odd = b"noise\0args \ta  b\0what ever\0kernel\n@/k";
        assert_eq!(read(odd), ("kernel a  b".into(), false));
    }

    #[test]
    fn a_result_that_cannot_be_used_is_refused() {
        let long = [b"kernel @/k\0args ".as_slice(), &[b'x'; MAX_COMMAND_LINE + 1]].concat();
        let longer = vec![b'x'; 70_000];
        for (result, says) in [
            (b"".as_slice(), "names no kernel"),
            (b"kernel\0", "names no kernel"),
            (b"(kernel '@/k')", "names no kernel"),
            (b"ramdisk @/r\0", "names no kernel"),
            (b"kernel @/k\0kernel @/r\0", "has a kernel twice"),
            (b"kernel @/k\0args a\0args b\0", "has a command line twice"),
            (b"kernel @/none\0", "cannot open the kernel: No such file"),
            (b"kernel /etc/passwd\0", "the kernel is not in the folder"),
            (b"kernel @/../k\0", "the kernel is not in the folder"),
            (b"kernel @\0", "the kernel is not in the folder"),
            (b"kernel @/k\0ramdisk k\0", "the ramdisk is not in the folder"),
            (b"kernel @/k\0ramdisk @/k\0", "are the same file"),
            (b"kernel @/k\0args \xff\0", "not UTF-8"),
            (&long, "the command line has 3891 bytes: must be at most 3890"),
            (&longer, "has more than 65536 bytes"),
        ] {
            let error = collected(result, |_| {}).unwrap_err();
            assert!(error.contains(says), "{}: {error}", String::from_utf8_lossy(result));
        }
    }

    #[test]
    fn a_file_that_was_replaced_after_it_was_seen_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        let opened: OwnedFd = File::open(folder.path()).unwrap().into();
        let open = |seen: &Stat| open_seen(&opened, "k".as_ref(), seen, "kernel");
        fs::write(&path, "kernel").unwrap();
        let kept = File::open(&path).unwrap();
        let seen = fstat(&kept).unwrap();
        assert_eq!(open(&seen).unwrap().metadata().unwrap().len(), 6);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "other").unwrap();
        assert!(open(&seen).unwrap_err().to_string().contains("the kernel was replaced"));
        fs::remove_file(&path).unwrap();
        // A FIFO that no one writes to would be waited for.
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(open(&seen).unwrap_err().to_string().contains("the kernel was replaced"));
    }

    #[test]
    fn only_regular_files_are_taken_and_no_link_is_followed() {
        let kernel = |more: &dyn Fn(&Path)| {
            let replaced = |folder: &Path| {
                fs::remove_file(folder.join("k")).unwrap();
                more(&folder.join("k"));
            };
            collected(b"kernel @/k\0", replaced).unwrap_err()
        };
        let error = kernel(&|path| symlink("/etc/passwd", path).unwrap());
        assert!(error.contains("the kernel is not a regular file"), "{error}");
        let error = kernel(&|path| fs::create_dir(path).unwrap());
        assert!(error.contains("the kernel is not a regular file"), "{error}");
        let mode = nix::sys::stat::Mode::S_IRWXU;
        let error = kernel(&|path| nix::unistd::mkfifo(path, mode).unwrap());
        assert!(error.contains("the kernel is not a regular file"), "{error}");
        let error = kernel(&|path| fs::write(path, "").unwrap());
        assert!(error.contains("the kernel has 0 bytes: must be 1 to"), "{error}");
        let error = kernel(&|path| File::create(path).unwrap().set_len(MAX_SIZE + 1).unwrap());
        assert!(error.contains("the kernel has 1073741825 bytes"), "{error}");
        let no_result = |folder: &Path| {
            fs::rename(folder.join("result"), folder.join("moved")).unwrap();
            symlink("moved", folder.join("result")).unwrap();
        };
        let error = collected(b"kernel @/k\0", no_result).unwrap_err();
        assert!(error.contains("the result is not a regular file"), "{error}");
    }
}
