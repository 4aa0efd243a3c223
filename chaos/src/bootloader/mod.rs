// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs the program of `bootloader=`, such as Xen's `pygrub`, which finds a guest's kernel on its
//! first disk.
//!
//! The program is run as libxl runs it (`tools/libs/light/libxl_bootloader.c`), with two differences.
//! It has no terminal, so it does not ask which entry to boot. And it has no rights unless the config
//! says `bootloader_restrict=0`: it parses file systems and files that a guest has written, and what
//! has taken it over there must not reach dom0 (`jail.rs`).

mod child;
mod disk;
mod error;
mod jail;
mod output;
mod program;

use std::fs::File;
use std::io::PipeReader;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::unistd::geteuid;

use crate::config::{Bootloader, DiskConfig};
use child::End;
use disk::BootDisk;
use jail::{Jail, Stage};

pub use error::{BootloaderError, OutputProblem};
pub use program::find;

/// How long a bootloader may run: `LIBXL_BOOTLOADER_TIMEOUT`.
pub const TIMEOUT: Duration = Duration::from_secs(120);

/// What a bootloader has found. No path leads to the files, so they are gone when they are closed.
#[derive(Debug)]
pub struct BootFiles {
    /// The kernel.
    pub kernel: File,
    /// The ramdisk.
    pub ramdisk: Option<File>,
    /// The command line.
    pub cmdline: String,
}

/// Runs a bootloader, which looks at `disk`. Waits until it exits, at most [`TIMEOUT`].
///
/// # Errors
/// The program is missing, this process is not root's, the disk cannot be read, or the program fails,
/// takes too long, or finds no kernel. No process and no file is left behind.
pub fn run(bootloader: &Bootloader, disk: &DiskConfig) -> Result<BootFiles, BootloaderError> {
    run_with(bootloader, disk, None)
}

/// As [`run`]. Stops the program when the write end of `stop`, a pipe, closes.
///
/// # Errors
/// As for [`run`], or [`BootloaderError::Unwanted`] if it was stopped so.
pub fn run_until(
    bootloader: &Bootloader,
    disk: &DiskConfig,
    stop: &PipeReader,
) -> Result<BootFiles, BootloaderError> {
    run_with(bootloader, disk, Some(stop.as_fd()))
}

fn run_with(
    bootloader: &Bootloader,
    disk: &DiskConfig,
    stop: Option<BorrowedFd<'_>>,
) -> Result<BootFiles, BootloaderError> {
    if !geteuid().is_root() {
        return Err(BootloaderError::NotRoot);
    }
    let program = program::find(&bootloader.program)?;
    let user = match bootloader.user.as_deref().filter(|_| bootloader.restrict) {
        Some(user) => Some(program::user_id(user)?),
        None => None,
    };
    let disk = BootDisk::open(disk)?;
    // What follows changes the thread's view of the file system for good.
    thread::scope(|scope| {
        let inside = || run_inside(bootloader, &program, user, disk.path(), stop);
        let thread = thread::Builder::new().name("bootloader".into());
        let thread = thread.spawn_scoped(scope, inside).map_err(BootloaderError::Process)?;
        thread.join().unwrap_or(Err(BootloaderError::Panic))
    })
}

/// Runs a program in this thread, which is of no use for anything else afterwards.
fn run_inside(
    bootloader: &Bootloader,
    program: &Path,
    user: Option<u32>,
    disk: &Path,
    stop: Option<BorrowedFd<'_>>,
) -> Result<BootFiles, BootloaderError> {
    let proc = child::open_proc().map_err(BootloaderError::Process)?;
    let stage = Stage::set_up()?;
    let jail = match bootloader.restrict {
        true => stage.jail(program, disk, user)?,
        false => stage.without_jail(disk)?,
    };
    let mut command = child::wrapped(program);
    command.args(arguments(bootloader, &jail));
    jail.confine(&mut command);
    let name = bootloader.name().into_owned();
    let ended = child::run(command, proc.as_fd(), jail.limits(), TIMEOUT, stop);
    let (end, output) = ended.map_err(BootloaderError::Process)?;
    match end {
        End::Unwanted => Err(BootloaderError::Unwanted),
        End::TimedOut => {
            Err(BootloaderError::TimedOut { program: name, seconds: TIMEOUT.as_secs(), output })
        }
        End::Exited(status) if !status.success() => {
            let how = child::describe(status);
            let is_restricted = bootloader.restrict;
            Err(BootloaderError::Failed { program: name, how, output, is_restricted })
        }
        End::Exited(_) => output::collect(&jail.folder, &jail.result)
            .map_err(|problem| BootloaderError::Output { program: name, problem, output }),
    }
}

/// Returns the arguments that libxl passes, in its order. `--quiet` means that no menu is shown: it is
/// what libxl passes to a restricted bootloader, and pygrub needs a terminal without it.
fn arguments(bootloader: &Bootloader, jail: &Jail) -> Vec<String> {
    let Bootloader { args, restrict, kernel, ramdisk, cmdline, .. } = bootloader;
    let path = |path: &PathBuf| path.display().to_string();
    let cmdline = Some(cmdline).filter(|cmdline| !cmdline.is_empty());
    let options = [("kernel", kernel.as_ref()), ("ramdisk", ramdisk.as_ref()), ("args", cmdline)];
    let mut all: Vec<String> = options
        .into_iter()
        .filter_map(|(key, value)| Some(format!("--{key}={}", value?)))
        .collect();
    if *restrict || bootloader.name().starts_with("pygrub") {
        all.push("--quiet".into());
    }
    all.push(format!("--output={}", path(&jail.result)));
    all.push("--output-format=simple0".into());
    all.push(format!("--output-directory={}", path(&jail.folder)));
    all.extend(args.iter().cloned());
    all.push(path(&jail.disk));
    all
}

impl Jail {
    /// Has a command run inside.
    fn confine(&self, command: &mut Command) {
        use std::os::unix::process::CommandExt;

        if let Some(user) = self.user {
            // The standard library drops all other groups, too.
            command.uid(user).gid(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bootloader(restrict: bool, program: &str) -> Bootloader {
        Bootloader {
            program: program.into(),
            args: vec!["--entry=1".into()],
            restrict,
            user: None,
            kernel: Some("/boot/k".into()),
            ramdisk: None,
            cmdline: "root=/dev/xvda".into(),
        }
    }

    #[test]
    fn the_arguments_are_those_of_libxl() {
        let jail = Jail::at("/out".into(), "/disk".into());
        let all = arguments(&bootloader(true, "/x/other"), &jail);
        let expected = [
            "--kernel=/boot/k",
            "--args=root=/dev/xvda",
            "--quiet",
            "--output=/out/result",
            "--output-format=simple0",
            "--output-directory=/out",
            "--entry=1",
            "/disk",
        ];
        assert_eq!(all, expected);
        let is_quiet =
            |program| arguments(&bootloader(false, program), &jail).contains(&"--quiet".to_owned());
        assert!(is_quiet("/usr/bin/pygrub") && !is_quiet("other"));
    }

    #[test]
    fn a_program_that_is_missing_and_a_user_without_rights_are_refused() {
        let disk = DiskConfig::named("/dev/null".into(), "xvda".into(), false).unwrap();
        let error = run(&bootloader(true, "/no/such"), &disk).unwrap_err();
        match geteuid().is_root() {
            true => assert!(matches!(error, BootloaderError::Missing { .. }), "{error}"),
            false => assert!(matches!(error, BootloaderError::NotRoot), "{error}"),
        }
    }
}
