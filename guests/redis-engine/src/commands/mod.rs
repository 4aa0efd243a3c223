// SPDX-License-Identifier: MIT OR Apache-2.0
//! Executes commands. They are in one table, from which `COMMAND` is answered, too.

mod connection;
mod context;
mod expiry;
mod hashes;
mod index;
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
    let before = out.len();
    let outcome = match find(&TABLE, args.get(0)) {
        None => Err(unknown(args)),
        Some(command) if !command.takes(args.len()) => {
            Err(Refused::Arity(String::from(command.name)))
        }
        Some(command) => {
            // Check memory for copies of the arguments, and for the overhead of each.
            let room = if command.grows { store.need(args.total(), args.len()) } else { Ok(()) };
            let out = &mut *out;
            let commands = &TABLE;
            room.and_then(|()| {
                (command.run)(&mut Context { store, client, now, args, out, commands })
            })
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
    let show = |argument: &[u8]| {
        String::from_utf8_lossy(&argument[..argument.len().min(128)]).into_owned()
    };
    let mut text =
        alloc::format!("ERR unknown command '{}', with args beginning with: ", show(args.get(0)));
    for argument in args.from(1) {
        if text.len() >= 128 {
            break;
        }
        text.push_str(&alloc::format!("'{}' ", show(argument)));
    }
    Refused::Other(text.into())
}
