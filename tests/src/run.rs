//! Runs commands and checks their results.

use std::process::{Command, Stdio};

use serde_json::Value;

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

/// Runs a command that is more than a program and its arguments.
pub(crate) fn run_command(command: &mut Command) -> Ran {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let text = words.join(" ");
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

    /// Checks that the command succeeded, and returns the JSON that it printed.
    ///
    /// # Panics
    /// The command failed, or printed something other than JSON.
    #[track_caller]
    #[must_use]
    pub fn json(self) -> Value {
        let command = self.command.clone();
        let text = self.ok();
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{command} did not print JSON: {error}\n{text}"))
    }

    /// Checks that the command failed with this exit code, printed nothing to stdout, and that its
    /// stderr contains each of the words.
    ///
    /// # Panics
    /// One of these is not so.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) {
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
