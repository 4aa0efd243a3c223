// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a bootloader runs.
//!
//! Each run has a file system in memory ([`Stage`]), in a mount namespace of this thread: nothing is
//! left of it when the thread and the program have ended, also if they are killed. A PID namespace makes
//! all processes of the program end with it.
//!
//! A restricted program also has:
//!
//! * a user of its own without capabilities, which no program can regain (`no_new_privs`);
//! * another root, with the programs and libraries of dom0, which it may only read, the disk, and a
//!   folder for its result. There is nothing else of dom0: no `/run`, `/proc`, `/sys`, `/home` or `/var`,
//!   and of `/dev` and `/etc` only a few files that are the same on each host;
//! * a network namespace without interfaces, and an IPC namespace;
//! * limits of its memory, files, processes, CPU time and time.
//!
//! This is what pygrub does itself with `--runas` (Xen's `tools/pygrub/src/pygrub`, XSA-443), around the
//! whole program and also for other programs. Its user may read the disk though the file's mode does
//! not allow that: a block device gets a node of its own, and a file is shown through overlayfs, with
//! another owner and the data of the original.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, mknod};
use nix::unistd::{Gid, Uid, chdir, chown, chroot, gettid};
use rustix::fs::{FileType, Mode as OpenMode, OFlags, Stat, fstat, open, stat};

use super::child::Limits;
use super::error::BootloaderError;
use crate::image::room;

/// Where the file system of a run is mounted. The folder itself stays empty.
const STAGE: &str = "/run/chaos/boot";

/// The largest file system of a run: pygrub's limit for the kernel and the ramdisk (`LIMIT_FSIZE`, 128
/// MiB each).
const MAX_STAGE: u64 = 256 << 20;

/// The address space of each process: pygrub's limit (`LIMIT_AS`).
const MAX_MEMORY: u64 = 256 << 20;

/// The processes of a program, each of which may take [`MAX_MEMORY`]. pygrub is one, and the shells that
/// run it two.
const MAX_PROCESSES: u64 = 4;

/// The first user of restricted programs. Each runs as this number plus that of its thread, which is
/// below 2^22, so that no two have the same. systemd's list of user IDs (UIDS-GIDS) has none from
/// 1879048192 to 2147352575, and neither have `useradd` and containers.
const FIRST_USER: u32 = 0x7000_0000;

/// Folders of dom0 that a restricted program sees.
const FOLDERS: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Files of dom0 that it sees, too: where libraries are, and devices without a state.
const FILES: [&str; 4] = ["etc/ld.so.cache", "dev/null", "dev/zero", "dev/urandom"];

/// The file system of a run.
pub(super) struct Stage {
    size: u64,
}

/// What a program finds where it runs.
#[derive(Debug)]
pub(super) struct Jail {
    /// The folder for its files.
    pub(super) folder: PathBuf,
    /// The file for its result.
    pub(super) result: PathBuf,
    /// The disk.
    pub(super) disk: PathBuf,
    /// Its user, if it is restricted.
    pub(super) user: Option<u32>,
    limits: Option<Limits>,
}

/// Describes an operation of the system that failed.
fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> BootloaderError {
    let what = what.into();
    move |source| BootloaderError::Jail { what, source }
}

impl Stage {
    /// Mounts the file system, which only this thread and its children see.
    pub(super) fn set_up() -> Result<Self, BootloaderError> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)
            .map_err(|errno| failed("cannot create namespaces")(errno.into()))?;
        // systemd has mounts of one namespace appear in others.
        mount_at(None, Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
        fs::create_dir_all(STAGE).map_err(failed(format!("cannot create {STAGE}")))?;
        // It is memory, which dom0 needs for other things, too.
        let size = room::available().map_or(MAX_STAGE, |free| MAX_STAGE.min(free / 2));
        let options = format!("size={size},nr_inodes=1k,mode=755");
        mount_at(Some("tmpfs"), STAGE.as_ref(), Some("tmpfs"), MsFlags::MS_NOSUID, Some(&options))?;
        Ok(Self { size })
    }

    /// Returns where a program runs as root, with all that root sees.
    pub(super) fn without_jail(&self, disk: &Path) -> Result<Jail, BootloaderError> {
        let folder = Path::new(STAGE).join("out");
        add_result(&folder, None)?;
        Ok(Jail::at(folder, disk.to_owned()))
    }

    /// Moves this thread to where a restricted program runs.
    pub(super) fn jail(
        &self,
        program: &Path,
        disk: &Path,
        user: Option<u32>,
    ) -> Result<Jail, BootloaderError> {
        // Linux counts the processes of a user, and a named one may have others.
        let processes = user.is_none().then_some(MAX_PROCESSES);
        let user = user.unwrap_or_else(|| FIRST_USER + gettid().as_raw().unsigned_abs());
        let root = Path::new(STAGE).join("root");
        add_folder(&root)?;
        add_programs(&root, program)?;
        show_disk(disk, &root.join("disk"), user)?;
        add_result(&root.join("out"), Some(user))?;

        let others = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
        unshare(others).map_err(|errno| failed("cannot create namespaces")(errno.into()))?;
        chroot(&root).map_err(|errno| failed("cannot change the root")(errno.into()))?;
        chdir("/").map_err(|errno| failed("cannot change to /")(errno.into()))?;
        set_no_new_privs().map_err(|errno| failed("no_new_privs")(errno.into()))?;
        let limits = Limits {
            // The kernel and the ramdisk.
            file: self.size / 2,
            memory: MAX_MEMORY,
            cpu: super::TIMEOUT.as_secs(),
            processes,
        };
        let jail = Jail::at("/out".into(), "/disk".into());
        Ok(Jail { user: Some(user), limits: Some(limits), ..jail })
    }
}

impl Jail {
    /// Returns a place without restrictions.
    pub(super) fn at(folder: PathBuf, disk: PathBuf) -> Self {
        Self { result: folder.join("result"), folder, disk, user: None, limits: None }
    }

    /// Returns the limits of the program.
    pub(super) fn limits(&self) -> Option<Limits> {
        self.limits
    }
}

/// Mounts something at a path.
fn mount_at(
    source: Option<&str>,
    at: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), BootloaderError> {
    mount(source, at, kind, flags, options)
        .map_err(|errno| failed(format!("cannot mount {}", at.display()))(errno.into()))
}

/// Shows a file or a folder at another path, without what is mounted in it: [`make_read_only`] would not
/// reach that.
fn bind(source: &Path, at: &Path) -> Result<(), BootloaderError> {
    let source = source.to_string_lossy();
    mount_at(Some(&source), at, None, MsFlags::MS_BIND, None)
}

/// Has what was bound at a path only read.
fn make_read_only(at: &Path, more: MsFlags) -> Result<(), BootloaderError> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    mount_at(None, at, None, flags | more, None)
}

/// Creates a folder that all may read. The mode does not depend on the umask.
fn add_folder(path: &Path) -> Result<(), BootloaderError> {
    let add = || {
        fs::create_dir(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o755))
    };
    match add() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(failed(format!("cannot create {}", path.display()))),
    }
}

/// Creates an empty file, and the folders that it is in below `root`.
fn add_file(root: &Path, path: &Path) -> Result<PathBuf, BootloaderError> {
    let folders = path.parent().into_iter().flat_map(Path::ancestors).collect::<Vec<_>>();
    for folder in folders.into_iter().rev() {
        add_folder(&root.join(folder))?;
    }
    let path = root.join(path);
    File::create(&path).map_err(failed(format!("cannot create {}", path.display())))?;
    Ok(path)
}

/// Shows the programs and libraries of dom0, and what else a program needs.
fn add_programs(root: &Path, program: &Path) -> Result<(), BootloaderError> {
    let dom0 = Path::new("/");
    for name in FOLDERS {
        let (source, at) = (dom0.join(name), root.join(name));
        let Ok(found) = fs::symlink_metadata(&source) else { continue };
        if found.is_symlink() {
            let link = || symlink(fs::read_link(&source)?, &at);
            link().map_err(failed(format!("cannot create {}", at.display())))?;
        } else {
            add_folder(&at)?;
            bind(&source, &at)?;
            make_read_only(&at, MsFlags::MS_NODEV)?;
        }
    }
    for name in FILES {
        let source = dom0.join(name);
        if source.exists() {
            bind(&source, &add_file(root, Path::new(name))?)?;
        }
    }
    let name = program.strip_prefix("/").unwrap_or(program);
    if !FOLDERS.iter().any(|folder| name.starts_with(folder)) {
        // Xen's own build may be in /opt, with the libraries of the program.
        let opt = Path::new("opt");
        let at = match name.starts_with(opt) {
            true => {
                add_folder(&root.join(opt))?;
                bind(&dom0.join(opt), &root.join(opt))?;
                root.join(opt)
            }
            false => {
                let at = add_file(root, name)?;
                bind(program, &at)?;
                at
            }
        };
        make_read_only(&at, MsFlags::MS_NODEV)?;
    }
    Ok(())
}

/// Creates the folder for the program's files, and the file for its result.
fn add_result(folder: &Path, user: Option<u32>) -> Result<(), BootloaderError> {
    let result = folder.join("result");
    let add = || {
        fs::create_dir(folder)?;
        File::create(&result)?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        fs::set_permissions(&result, Permissions::from_mode(0o600))?;
        [folder, &result].into_iter().try_for_each(|path| change_owner(path, user))
    };
    add().map_err(failed(format!("cannot create {}", folder.display())))
}

/// Changes the owner of a file, if there is a user.
fn change_owner(path: &Path, user: Option<u32>) -> io::Result<()> {
    let Some(user) = user else { return Ok(()) };
    Ok(chown(path, Some(Uid::from_raw(user)), Some(Gid::from_raw(user)))?)
}

/// Shows a disk at a path, where a user may read it, and no one can write to it.
fn show_disk(disk: &Path, at: &Path, user: u32) -> Result<(), BootloaderError> {
    let failed = |errno: rustix::io::Errno| BootloaderError::Disk {
        disk: disk.to_owned(),
        source: errno.into(),
    };
    // What the descriptor refers to stays the same.
    let found = open(disk, OFlags::PATH | OFlags::CLOEXEC, OpenMode::empty()).map_err(failed)?;
    let stat = fstat(&found).map_err(failed)?;
    let hidden = |source| BootloaderError::Hidden { disk: disk.to_owned(), source };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => {
            let mode = Mode::from_bits_truncate(0o440);
            // Its owner could change the mode, and write: a mount that is read-only does not prevent that
            // for a device. So only its group is the user's.
            mknod(at, SFlag::S_IFBLK, mode, stat.st_rdev)
                .and_then(|()| chown(at, None, Some(Gid::from_raw(user))))
                .and_then(|()| fchmodat(AT_FDCWD, at, mode, FchmodatFlags::FollowSymlink))
                .map_err(|errno| hidden(errno.into()))
        }
        FileType::RegularFile => {
            File::create(at).map_err(hidden)?;
            match stat.st_mode & 0o004 {
                0 => show_hidden(&found, &stat, at, user).map_err(hidden)?,
                _ => bind(&of(&found), at)?,
            }
            make_read_only(at, MsFlags::MS_NODEV | MsFlags::MS_NOEXEC)
        }
        _ => Err(BootloaderError::NotADisk { disk: disk.to_owned() }),
    }
}

/// Returns the path of what a descriptor of this process refers to.
fn of(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Shows a file that a user may not read at a path where the user may.
///
/// overlayfs shows the file's folder, with other metadata for this file. They are in memory; only they
/// are copied (`metacopy`), and the data are read with the rights of this thread. The program sees
/// this file of the folder, and no other.
fn show_hidden(file: &OwnedFd, seen: &Stat, at: &Path, user: u32) -> io::Result<()> {
    let path = fs::read_link(of(file))?;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("it has no folder"));
    };
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| Path::new(STAGE).join(name));
    for folder in [&upper, &work, &merged] {
        fs::create_dir(folder)?;
    }
    // The folder's name may contain what has a meaning in options.
    chdir(folder)?;
    let now = stat(name)?;
    if (now.st_dev, now.st_ino) != (seen.st_dev, seen.st_ino) {
        return Err(io::Error::other("it was replaced meanwhile"));
    }
    let options =
        format!("lowerdir=.,upperdir={},workdir={},metacopy=on", upper.display(), work.display());
    mount(Some("overlay"), &merged, Some("overlay"), MsFlags::MS_NOSUID, Some(options.as_str()))?;
    let shown = merged.join(name);
    change_owner(&shown, Some(user))?;
    fs::set_permissions(&shown, Permissions::from_mode(0o400))?;
    bind(&shown, at).map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Arc, Barrier};

    use super::*;

    #[test]
    fn users_of_restricted_programs_are_no_others() {
        // The largest number of a thread is below 2^22 (PID_MAX_LIMIT of Linux).
        let last = FIRST_USER + (1 << 22);
        // systemd's users of foreign images follow.
        assert!(last < 2_147_352_576);
        // Numbers of threads that exist at the same time differ.
        let barrier = Arc::new(Barrier::new(2));
        let two: HashSet<_> = [(); 2]
            .map(|()| {
                let barrier = Arc::clone(&barrier);
                std::thread::spawn(move || {
                    barrier.wait();
                    let thread = gettid().as_raw();
                    barrier.wait();
                    thread
                })
            })
            .map(|thread| thread.join().unwrap())
            .into();
        assert!(two.len() == 2 && two.iter().all(|thread| *thread > 0 && *thread < 1 << 22));
    }
}
