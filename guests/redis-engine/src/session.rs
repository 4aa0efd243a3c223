// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection.

use alloc::rc::Rc;
use core::cell::RefCell;

use crate::client::{Client, ClientInfo};
use crate::commands;
use crate::memory::fits_in_transit;
use crate::output::Output;
use crate::parser::{Found, Parser};
use crate::requests::Share;
use crate::store::Store;

/// The size of unsent replies, in bytes, from which on no further command is executed.
const ENOUGH_OUTPUT: usize = 64 * 1024;

/// The most memory, in bytes, that a new connection takes without a further check.
const NEW_CONNECTION: usize = 1024;

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    parser: Parser,
    /// `None` if there was no memory for it.
    client: Option<Client>,
    /// What the request holds that is incomplete.
    share: Share,
}

/// How much of the input was used, and whether the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The number of bytes that were used. Feed the rest again once some output has been sent.
    pub consumed: usize,
    /// Whether at least one command was completed, be it with an error.
    pub completed: bool,
    /// Whether to close the connection when the output has been sent.
    pub close: bool,
    /// Whether to close it at once and discard the output: the peer sends HTTP requests, so it may
    /// be a browser that another party's web page abuses (cross-protocol scripting).
    pub http: bool,
}

impl Session {
    /// Creates a connection. `id` must be unique. If there is no memory for the connection, the
    /// first call of [`feed`](Self::feed) asks to close it.
    #[must_use]
    pub fn new(id: u64, store: &mut Store) -> Self {
        store.stats.connections += 1;
        // Check memory: there can be many connections, and only the peers decide when they end.
        let client = fits_in_transit(store.memory(), NEW_CONNECTION).then(|| {
            let info = Rc::new(RefCell::new(ClientInfo { id, ..ClientInfo::default() }));
            store.clients.add(id, &info);
            Client { info, close: false, http: false }
        });
        Self { parser: Parser::default(), client, share: store.requests.share() }
    }

    /// Returns whether the last input ended between two commands, and not inside one.
    #[must_use]
    pub fn is_between_commands(&self) -> bool {
        self.parser.is_between_commands()
    }

    /// Returns the bytes of memory that the last request holds while it is incomplete; otherwise 0.
    #[must_use]
    pub fn held_by_request(&self) -> usize {
        self.share.bytes()
    }

    /// Takes bytes as they arrive and executes every complete command in them, in order. `now_ms`
    /// is the time in milliseconds since the Unix epoch. Stops early when much output is unsent;
    /// the rest of the input must then be fed again.
    pub fn feed(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        input: &[u8],
        output: &mut Output,
    ) -> Progress {
        let Some(client) = &mut self.client else {
            let consumed = input.len();
            return Progress { consumed, completed: false, close: true, http: false };
        };
        let (mut consumed, mut completed) = (0, false);
        while consumed < input.len() && output.len() < ENOUGH_OUTPUT && !client.close {
            if !output.room_for_short(store.memory()) {
                // Unsent replies free their memory when they are sent, so wait for that. If there
                // are none, there is no memory even for an error. Then close the connection: a peer
                // that misses one reply would take the next one for it.
                client.close = output.is_empty();
                break;
            }
            let (used, found) = self.parser.read(store.memory(), &input[consumed..]);
            consumed += used;
            completed |= !matches!(found, Found::Nothing);
            match found {
                Found::Nothing => {}
                Found::Command => {
                    let args = core::mem::take(&mut self.parser.args);
                    commands::execute(store, client, now_ms, &args, output);
                    self.parser.args = args;
                    // The next command may come much later.
                    self.parser.args.clear();
                }
                Found::TooLarge => commands::refuse_for_memory(output),
                Found::Error(message) => {
                    output.error(message);
                    client.close = true;
                }
                Found::NoArgument(byte) => {
                    output.error_of([b"ERR Protocol error: expected '$', got '", &[byte], b"'"]);
                    client.close = true;
                }
            }
        }
        if client.close {
            consumed = input.len();
        }
        self.share.set(self.parser.held());
        Progress { consumed, completed, close: client.close, http: client.http }
    }
}
