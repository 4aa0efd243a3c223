//! Executes commands. One table lists them all; `COMMAND` replies from it too.

mod connection;
mod expiry;
mod hashes;
mod keys;
mod lists;
mod scan;
mod server;
mod sets;
mod strings;
mod table;
mod zsets;

use alloc::string::String;

use crate::args::Args;
use crate::bytes::Text;
use crate::error::Refused;
use crate::number;
use crate::output::Output;
use crate::session::Client;
use crate::store::Store;
use crate::value::Value;

pub(crate) use table::{Command, TABLE};

/// Everything that a command works on.
pub(crate) struct Context<'a> {
    pub(crate) store: &'a mut Store,
    pub(crate) client: &'a mut Client,
    pub(crate) now: u64,
    pub(crate) args: &'a Args,
    pub(crate) out: &'a mut Output,
}

/// The result of a command. `Ok` means that the reply is in the output.
pub(crate) type Outcome = Result<(), Refused>;

impl<'a> Context<'a> {
    /// Returns an argument.
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

    /// Refuses a command because of its number of arguments.
    pub(crate) fn arity<T>(&self) -> Result<T, Refused> {
        let name = String::from_utf8_lossy(self.arg(0)).to_ascii_lowercase();
        Err(Refused::Arity(name))
    }

    /// Makes room for a reply of `bytes` bytes in `parts` parts.
    pub(crate) fn reserve_reply(&mut self, bytes: usize, parts: usize) -> Outcome {
        self.out.reserve(self.store.memory(), bytes, parts)
    }

    /// Copies an argument, to be stored as a string.
    pub(crate) fn copy(&self, index: usize) -> Result<Value, Refused> {
        Text::copy(self.arg(index)).map(Value::String)
    }

    /// Returns an argument for an error message, cut off after 128 bytes.
    pub(crate) fn shown(&self, index: usize) -> String {
        let word = self.arg(index);
        String::from_utf8_lossy(&word[..word.len().min(128)]).into_owned()
    }
}

/// Executes one command and writes its reply.
pub(crate) fn execute(
    store: &mut Store,
    client: &mut Client,
    now: u64,
    args: &Args,
    out: &mut Output,
) {
    store.stats.commands += 1;
    let before = out.len();
    let outcome = match table::find(args.get(0)) {
        None => Err(unknown(args)),
        Some(command) if !command.takes(args.len()) => {
            Err(Refused::Arity(String::from(command.name)))
        }
        Some(command) => {
            // Check memory for copies of the arguments, and for the overhead of each.
            let room = if command.grows { store.need(args.total(), args.len()) } else { Ok(()) };
            let out = &mut *out;
            room.and_then(|()| (command.run)(&mut Context { store, client, now, args, out }))
        }
    };
    if let Err(refused) = outcome {
        out.undo(before);
        out.error(&refused.text());
    } else if out.is_full() {
        out.undo(before);
        refuse_for_memory(out);
    }
}

/// Replies to a command for which there is no memory.
pub(crate) fn refuse_for_memory(out: &mut Output) {
    out.error(&Refused::OutOfMemory.text());
}

/// Returns Redis's error for an unknown command, which shows the first arguments, shortened.
fn unknown(args: &Args) -> Refused {
    let show = |word: &[u8]| String::from_utf8_lossy(&word[..word.len().min(128)]).into_owned();
    let mut text =
        alloc::format!("ERR unknown command '{}', with args beginning with: ", show(args.get(0)));
    for word in args.from(1) {
        if text.len() >= 128 {
            break;
        }
        text.push_str(&alloc::format!("'{}' ", show(word)));
    }
    Refused::Other(text.into())
}

/// Converts a pair of indices, of which negative ones count from the end, to a range of positions.
pub(crate) fn range(start: i64, end: i64, len: usize) -> core::ops::Range<usize> {
    let len_signed = i64::try_from(len).unwrap_or(i64::MAX);
    let from_end = |index: i64| if index < 0 { index.saturating_add(len_signed) } else { index };
    let start = from_end(start).max(0);
    let end = from_end(end).min(len_signed - 1);
    if start > end || start >= len_signed {
        return 0..0;
    }
    let position = |index: i64| usize::try_from(index).unwrap_or(0);
    position(start)..position(end) + 1
}

/// Converts an index, which counts from the end if negative, to a position; `None` if it is out of
/// range.
pub(crate) fn position(index: i64, len: usize) -> Option<usize> {
    let len_signed = i64::try_from(len).ok()?;
    let index = if index < 0 { index.checked_add(len_signed)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < len)
}
