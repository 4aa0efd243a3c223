// SPDX-License-Identifier: MIT OR Apache-2.0
//! The description of a command, and the context in which it runs.

use alloc::string::String;

use crate::args::Args;
use crate::bytes::Text;
use crate::client::Client;
use crate::error::Refused;
use crate::number;
use crate::output::Output;
use crate::store::Store;
use crate::value::Value;

/// One command.
pub(crate) struct Command {
    /// The name, in lower case.
    pub(crate) name: &'static str,
    /// The number of arguments, the name included. If negative, its absolute value is the least
    /// number.
    pub(crate) arity: i32,
    /// Whether the command can need more memory for data.
    pub(crate) grows: bool,
    /// Whether the command only reads.
    pub(crate) reads: bool,
    /// The first key, the last key and the step between keys; 0 if there is none.
    pub(crate) keys: (i32, i32, i32),
    /// Executes the command.
    pub(crate) run: fn(&mut Context<'_>) -> Outcome,
}

impl Command {
    /// Returns whether the command takes this many arguments, its name included.
    pub(crate) fn takes(&self, count: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { count >= arity } else { count == arity }
    }
}

/// Returns the command of this name, ignoring case. The commands must be sorted by name.
pub(crate) fn find(commands: &'static [Command], name: &[u8]) -> Option<&'static Command> {
    let mut lower = [0; 24];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let index = commands.binary_search_by(|command| command.name.as_bytes().cmp(lower)).ok()?;
    commands.get(index)
}

/// Everything that a command reads and changes.
pub(crate) struct Context<'a> {
    pub(crate) store: &'a mut Store,
    pub(crate) client: &'a mut Client,
    /// The time in milliseconds since the Unix epoch.
    pub(crate) now: u64,
    pub(crate) args: &'a Args,
    pub(crate) out: &'a mut Output,
    /// All commands, for `COMMAND`.
    pub(crate) commands: &'static [Command],
}

/// The result of a command: the reply is in the output, or the command is refused.
pub(crate) type Outcome = Result<(), Refused>;

impl<'a> Context<'a> {
    /// Returns an argument; empty if there is none with this number.
    pub(crate) fn arg(&self, index: usize) -> &'a [u8] {
        self.args.get(index)
    }

    /// Returns an argument that must be an integer.
    pub(crate) fn integer(&self, index: usize) -> Result<i64, Refused> {
        number::integer(self.arg(index))
    }

    /// Returns an argument that must be a floating-point number.
    pub(crate) fn float(&self, index: usize) -> Result<f64, Refused> {
        number::float(self.arg(index)).ok_or(Refused::NotAFloat)
    }

    /// Refuses a command with a wrong number of arguments.
    pub(crate) fn arity<T>(&self) -> Result<T, Refused> {
        let name = String::from_utf8_lossy(self.arg(0)).to_ascii_lowercase();
        Err(Refused::Arity(name))
    }

    /// Makes room for a reply of `bytes` bytes in `parts` parts; refuses if there is no memory.
    pub(crate) fn reserve_reply(&mut self, bytes: usize, parts: usize) -> Outcome {
        self.out.reserve(self.store.memory(), bytes, parts)
    }

    /// Returns a copy of an argument as a string value; refuses if there is no memory.
    pub(crate) fn copy(&self, index: usize) -> Result<Value, Refused> {
        Text::copy(self.arg(index)).map(Value::String)
    }

    /// Returns the first 128 bytes of an argument, to be shown in an error.
    pub(crate) fn shown(&self, index: usize) -> String {
        let argument = self.arg(index);
        String::from_utf8_lossy(&argument[..argument.len().min(128)]).into_owned()
    }
}
