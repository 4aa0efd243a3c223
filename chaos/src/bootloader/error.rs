// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a bootloader has found no kernel.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::child::ProgramOutput;
use crate::backends::DevicesError;
use crate::failure::FailureClass;

/// Why a bootloader has found no kernel.
#[derive(Debug, Error)]
pub enum BootloaderError {
    /// The user is not root.
    #[error(
        "only root may run a bootloader, because it reads the guest's disk; name a kernel with kernel=, or \
         ask root"
    )]
    NotRoot,
    /// The program does not exist.
    #[error("bootloader {} does not exist; {remedy}", program.display())]
    Missing {
        /// Where it should be.
        program: PathBuf,
        /// What to do.
        remedy: String,
    },
    /// The file is not a program.
    #[error(
        "bootloader {} is not a program; if it is a kernel, such as PV-GRUB, name it with kernel= instead",
        program.display()
    )]
    NotAProgram {
        /// The file.
        program: PathBuf,
    },
    /// `bootloader_user=` cannot be used.
    #[error("bootloader_user = {user:?}: {why}")]
    User {
        /// The user.
        user: String,
        /// What is wrong, and what to do.
        why: &'static str,
    },
    /// The disk cannot be looked at.
    #[error("cannot look for a kernel on disk {}", disk.display())]
    Disk {
        /// The disk.
        disk: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk is an image that cannot be opened.
    #[error("the bootloader cannot read its disk")]
    Image(#[source] Box<DevicesError>),
    /// The disk is of a kind that has no kernel.
    #[error(
        "cannot look for a kernel on disk {}: must be a regular file or a block device",
        disk.display()
    )]
    NotADisk {
        /// The disk.
        disk: PathBuf,
    },
    /// The restricted user cannot read the disk.
    #[error(
        "disk {} cannot be shown to a restricted bootloader; make the file readable for others \
         (chmod o+r), or write bootloader_restrict = 0, which runs the bootloader as root",
        disk.display()
    )]
    Hidden {
        /// The disk.
        disk: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system refuses to restrict the program.
    #[error("cannot restrict the bootloader: {what}")]
    Jail {
        /// What failed.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program cannot be started or waited for.
    #[error("cannot run the bootloader")]
    Process(#[source] io::Error),
    /// The thread that runs it has panicked.
    #[error("the thread that runs the bootloader has stopped")]
    Panic,
    /// The program was stopped because its guest was destroyed.
    #[error("the bootloader was stopped, because its guest was destroyed")]
    Unwanted,
    /// The program has taken too long.
    #[error("bootloader {program} was stopped because it ran for {seconds} s, the maximum{output}")]
    TimedOut {
        /// The program.
        program: String,
        /// The maximum.
        seconds: u64,
        /// What it printed.
        output: ProgramOutput,
    },
    /// The program has failed.
    #[error(
        "bootloader {program} {how}{output}{}",
        if *is_restricted {
            ""
        } else {
            " (it was not restricted)"
        }
    )]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        how: String,
        /// What it printed.
        output: ProgramOutput,
        /// Whether it was restricted.
        is_restricted: bool,
    },
    /// The program has succeeded, but what it has written cannot be used.
    #[error("bootloader {program} has found no kernel that can be used: {problem}{output}")]
    Output {
        /// The program.
        program: String,
        /// What is wrong.
        problem: OutputProblem,
        /// What it printed.
        output: ProgramOutput,
    },
}

/// What is wrong with the result of a bootloader.
#[derive(Debug, Error)]
pub enum OutputProblem {
    /// It cannot be read.
    #[error("cannot read its result: {0}")]
    Read(io::Error),
    /// It is too long.
    #[error("its result has more than {0} bytes")]
    TooLong(u64),
    /// It is not text.
    #[error("its result is not UTF-8 text")]
    NotText,
    /// It names no kernel.
    #[error("its result names no kernel")]
    NoKernel,
    /// It has something twice.
    #[error("its result has {0} twice")]
    Twice(&'static str),
    /// The command line is too long.
    #[error("the command line has {length} bytes: must be at most {most}")]
    CommandLine {
        /// Its length.
        length: usize,
        /// The longest.
        most: usize,
    },
    /// A file is not in the folder of `--output-directory`.
    #[error("the {0} is not in the folder of --output-directory")]
    Outside(&'static str),
    /// A file cannot be opened.
    #[error("cannot open the {what}: {source}")]
    Open {
        /// Which.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file is not a regular file.
    #[error("the {0} is not a regular file")]
    NotRegular(&'static str),
    /// A file was replaced while it was opened.
    #[error("the {0} was replaced while it was opened")]
    Replaced(&'static str),
    /// A file is empty or too large.
    #[error("the {what} has {size} bytes: must be 1 to {most}")]
    Size {
        /// Which.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The largest.
        most: u64,
    },
    /// The kernel and the ramdisk are one file.
    #[error("the kernel and the ramdisk are the same file")]
    Same,
}

impl BootloaderError {
    /// Returns whether the program or the disk does not exist.
    #[must_use]
    pub fn is_missing_file(&self) -> bool {
        match self {
            Self::Missing { .. } => true,
            Self::Disk { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Returns the class of the failure.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::NotRoot => FailureClass::NoDom0,
            Self::TimedOut { .. } => FailureClass::TimedOut,
            Self::Image(error) => match &**error {
                DevicesError::Nbd(error) => error.class(),
                _ => FailureClass::Failed,
            },
            Self::Jail { .. } | Self::Process(_) | Self::Panic | Self::Unwanted => {
                FailureClass::Failed
            }
            Self::Missing { .. }
            | Self::NotAProgram { .. }
            | Self::User { .. }
            | Self::Disk { .. }
            | Self::NotADisk { .. }
            | Self::Hidden { .. }
            | Self::Failed { .. }
            | Self::Output { .. } => FailureClass::WrongInput,
        }
    }
}
