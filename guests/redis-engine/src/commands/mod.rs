// SPDX-License-Identifier: MIT OR Apache-2.0
//! Executes commands. They are in one table, from which `COMMAND` is answered, too.

mod connection;
mod context;
mod expiry;
mod hashes;
mod index;
mod keys;
mod lists;
mod persistence;
mod scan;
mod server;
mod sets;
mod strings;
mod table;
mod zsets;

use alloc::string::String;

use crate::args::Args;
use crate::client::Client;
use crate::error::Refused;
use crate::output::Output;
use crate::store::Store;
use context::{Context, find};
use table::TABLE;

/// Executes one command and writes its reply.
pub(crate) fn execute(
    store: &mut Store,
    client: &mut Client,
    now: u64,
    args: &Args,
    out: &mut Output,
) {
    store.stats.commands += 1;
    store.touched = false;
    let before = out.len();
    let outcome = match find(&TABLE, args.get(0)) {
        None if is_http(args) => {
            client.http = true;
            client.close = true;
            return;
        }
        None => Err(unknown(args)),
        Some(command) if !command.takes(args.len()) => {
            Err(Refused::Arity(String::from(command.name)))
        }
        Some(command) => {
            // Check memory for copies of the arguments, and for the overhead of each.
            let room = if command.grows { store.need(args.total(), args.len()) } else { Ok(()) };
            let out = &mut *out;
            let commands = &TABLE;
            let outcome = room.and_then(|()| {
                let store = &mut *store;
                (command.run)(&mut Context { store, client, now, args, out, commands })
            });
            store.changes += u64::from(outcome.is_ok() && !command.reads && store.touched);
            outcome
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

/// The most bytes of a command's name that an error repeats, and of all its arguments together.
const SHOWN: usize = 128;

/// Returns Redis's error for an unknown command, which shows the first arguments, shortened.
#[cold]
fn unknown(args: &Args) -> Refused {
    let show = |argument: &[u8], most: usize| {
        let argument = until_nul(argument);
        String::from_utf8_lossy(&argument[..argument.len().min(most)]).into_owned()
    };
    let mut shown = String::new();
    for argument in args.from(1) {
        if shown.len() >= SHOWN {
            break;
        }
        shown.push_str(&alloc::format!("'{}' ", show(argument, SHOWN - shown.len())));
    }
    let name = show(args.get(0), SHOWN);
    let text = alloc::format!("ERR unknown command '{name}', with args beginning with: {shown}");
    Refused::Other(text.into())
}

/// Returns the bytes before the first NUL: what C sees of a string.
fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Returns whether the command is the first line of an HTTP request with a body, or the header that
/// follows any other first line. A browser that a web page has sent here sends them.
#[cold]
fn is_http(args: &Args) -> bool {
    let name = until_nul(args.get(0));
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}
