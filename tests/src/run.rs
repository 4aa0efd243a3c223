// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs commands and checks their results.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::schema;

/// The result of a command.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The command line, for messages.
    pub command: String,
    /// Its exit code; `None` if a signal killed it.
    pub code: Option<i32>,
    /// Its exit status as text.
    pub status: String,
    /// What it printed to stdout.
    pub stdout: String,
    /// What it printed to stderr.
    pub stderr: String,
}

/// Runs a command and waits for its exit.
///
/// # Panics
/// The command cannot be started.
#[must_use]
pub fn run(program: &str, args: &[&str]) -> Ran {
    run_command(Command::new(program).args(args))
}

/// Runs a command that has more settings than a program and its arguments, such as a variable.
pub(crate) fn run_command(command: &mut Command) -> Ran {
    let arguments = std::iter::once(command.get_program()).chain(command.get_args());
    let arguments: Vec<_> = arguments.map(|argument| argument.to_string_lossy()).collect();
    let text = arguments.join(" ");
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start {text}: {error}"));
    Ran {
        command: text,
        code: output.status.code(),
        status: output.status.to_string(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs `chaos` and waits for its exit.
///
/// # Panics
/// It cannot be started.
#[must_use]
pub fn chaos(args: &[&str]) -> Ran {
    run("chaos", args)
}

/// Runs `chaos` as another user, in the group that may use `chaosd`'s socket.
///
/// # Panics
/// `chaosd` does not run, or the command cannot be started.
#[must_use]
pub fn chaos_as(uid: u32, args: &[&str]) -> Ran {
    run_command(&mut command_as(uid, args))
}

/// Returns the command that [`chaos_as`] runs.
///
/// # Panics
/// `chaosd` does not run.
#[must_use]
pub fn command_as(uid: u32, args: &[&str]) -> Command {
    let socket = fs::metadata("/run/chaos/chaosd-members.sock").expect("chaosd runs");
    let mut command = Command::new("chaos");
    command.uid(uid).gid(socket.gid()).current_dir("/").args(args);
    command
}

impl Ran {
    /// Checks that the command succeeded, and returns its stdout.
    ///
    /// # Panics
    /// The command failed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(
            self.code == Some(0),
            "{} failed ({}):\n{}{}",
            self.command,
            self.status,
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// Checks that the command succeeded, and returns the JSON that it printed. That of chaos must match
    /// its schema in `docs/schemas`.
    ///
    /// # Panics
    /// The command failed, or printed something other than JSON.
    #[track_caller]
    #[must_use]
    pub fn json(self) -> Value {
        let command = self.command.clone();
        let text = self.ok();
        let value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{command} did not print JSON: {error}\n{text}"));
        schema::check(&command, &value);
        value
    }

    /// Checks that `chaos` failed with this exit code, printed nothing to stdout and one line to
    /// stderr, and that the line contains each of the words.
    ///
    /// # Panics
    /// One of these is not so.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) {
        assert_eq!(self.lines_of_error(code, words), 1, "one line is wanted:\n{}", self.stderr);
    }

    /// Checks that `chaos` refused a config: as [`refused`](Self::refused) with exit code 2, but
    /// two more lines show the place, an excerpt and a mark below it.
    ///
    /// # Panics
    /// One of these is not so.
    #[track_caller]
    pub fn refused_config(self, words: &[&str]) {
        let lines = self.lines_of_error(2, words);
        let shown: Vec<&str> = self.stderr.lines().skip(1).collect();
        let marked = shown.last().is_some_and(|line| line.ends_with('^'));
        assert!(
            lines == 3 && marked,
            "one line, an excerpt and a mark are wanted:\n{}",
            self.stderr
        );
    }

    /// Checks that `chaos` refused its arguments: exit code 2, nothing on stdout, and on stderr one
    /// error, followed by the usage. The error or the usage contains each of the words.
    ///
    /// # Panics
    /// One of these is not so.
    #[track_caller]
    pub fn refused_arguments(self, words: &[&str]) {
        self.check_failure(2, words);
        let errors = self.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "one error is wanted:\n{}", self.stderr);
        assert!(self.stderr.contains("\nUsage: chaos"), "no usage:\n{}", self.stderr);
    }

    /// Checks an error that `chaos` prints itself, and returns how many lines it has.
    #[track_caller]
    fn lines_of_error(&self, code: i32, words: &[&str]) -> usize {
        self.check_failure(code, words);
        assert!(self.stderr.starts_with("chaos: "), "not an error of chaos:\n{}", self.stderr);
        self.stderr.lines().count()
    }

    #[track_caller]
    fn check_failure(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}:\n{}{}", self.command, self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "{} printed to stdout", self.command);
        for word in words {
            assert!(
                self.stderr.contains(word),
                "{} does not mention {word:?}:\n{}",
                self.command,
                self.stderr
            );
        }
    }
}
