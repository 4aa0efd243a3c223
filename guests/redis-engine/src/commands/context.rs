//! What a command is, and what it works on.

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
    /// Its name, in lower case.
    pub(crate) name: &'static str,
    /// How many words it takes, its name among them; negative: at least so many.
    pub(crate) arity: i32,
    /// Whether it can need more memory for data.
    pub(crate) grows: bool,
    /// Whether it only reads.
    pub(crate) reads: bool,
    /// First key, last key, step; 0 if there is none.
    pub(crate) keys: (i32, i32, i32),
    /// What it does.
    pub(crate) run: fn(&mut Context<'_>) -> Outcome,
}

impl Command {
    /// Returns whether it takes so many words.
    pub(crate) fn takes(&self, words: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { words >= arity } else { words == arity }
    }
}

/// Returns the command of this name, in any case, from commands that are sorted by name.
pub(crate) fn find(commands: &'static [Command], name: &[u8]) -> Option<&'static Command> {
    let mut lower = [0; 24];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let index = commands.binary_search_by(|command| command.name.as_bytes().cmp(lower)).ok()?;
    commands.get(index)
}

/// Everything a command works on.
pub(crate) struct Context<'a> {
    pub(crate) store: &'a mut Store,
    pub(crate) client: &'a mut Client,
    pub(crate) now: u64,
    pub(crate) args: &'a Args,
    pub(crate) out: &'a mut Output,
    /// All commands, for `COMMAND`.
    pub(crate) commands: &'static [Command],
}

/// What a command returns: the reply is in the output, or the command is refused.
pub(crate) type Outcome = Result<(), Refused>;

impl<'a> Context<'a> {
    /// A word of the command.
    pub(crate) fn arg(&self, index: usize) -> &'a [u8] {
        self.args.get(index)
    }

    /// A word that must be an integer.
    pub(crate) fn integer(&self, index: usize) -> Result<i64, Refused> {
        number::integer(self.arg(index))
    }

    /// A word that must be a floating-point number.
    pub(crate) fn float(&self, index: usize) -> Result<f64, Refused> {
        number::float(self.arg(index)).ok_or(Refused::NotAFloat)
    }

    /// Refuses a command with a wrong number of words.
    pub(crate) fn arity<T>(&self) -> Result<T, Refused> {
        let name = String::from_utf8_lossy(self.arg(0)).to_ascii_lowercase();
        Err(Refused::Arity(name))
    }

    /// Makes sure that a reply of so many bytes in so many parts fits in memory.
    pub(crate) fn reserve_reply(&mut self, bytes: usize, parts: usize) -> Outcome {
        self.out.reserve(self.store.memory(), bytes, parts)
    }

    /// A copy of a word, to be stored as a string.
    pub(crate) fn copy(&self, index: usize) -> Result<Value, Refused> {
        Text::copy(self.arg(index)).map(Value::String)
    }

    /// A word to be named in an error, cut short.
    pub(crate) fn shown(&self, index: usize) -> String {
        let word = self.arg(index);
        String::from_utf8_lossy(&word[..word.len().min(128)]).into_owned()
    }
}
