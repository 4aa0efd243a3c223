//! One connection.

use alloc::rc::Rc;
use core::cell::RefCell;

use crate::client::{Client, ClientInfo};
use crate::commands;
use crate::memory::fits_in_transit;
use crate::output::Output;
use crate::parser::{Found, Parser};
use crate::store::Store;

/// Replies that may wait before no further command is executed, in bytes.
const ENOUGH_OUTPUT: usize = 64 * 1024;

/// Memory that a connection takes before it is first asked for, in bytes, at most.
const NEW_CONNECTION: usize = 1024;

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    parser: Parser,
    /// `None` if memory was too short for it.
    client: Option<Client>,
}

/// What became of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were used. The rest must be given again, once some output has been sent.
    pub consumed: usize,
    /// Whether the connection is to be closed when the output has been sent.
    pub close: bool,
}

impl Session {
    /// A new connection with a number of its own. If there is no memory for it, the first bytes that
    /// it is fed close it.
    #[must_use]
    pub fn new(id: u64, store: &mut Store) -> Self {
        store.stats.connections += 1;
        // Connections are many, and end only when their peers like.
        let client = fits_in_transit(store.memory(), NEW_CONNECTION).then(|| {
            let info = Rc::new(RefCell::new(ClientInfo { id, ..ClientInfo::default() }));
            store.clients.add(id, &info);
            Client { info, close: false }
        });
        Self { parser: Parser::default(), client }
    }

    /// Takes bytes as they came and executes every whole command in them, in order. Stops early
    /// when enough output waits: what is left must be given again.
    pub fn feed(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        input: &[u8],
        output: &mut Output,
    ) -> Progress {
        let Some(client) = &mut self.client else {
            return Progress { consumed: input.len(), close: true };
        };
        let mut consumed = 0;
        while consumed < input.len() && output.len() < ENOUGH_OUTPUT && !client.close {
            if !output.room_for_short(store.memory()) {
                // Replies that wait will give their memory back. Without them there is no memory
                // to say anything, and a peer that misses a reply would take the next for it.
                client.close = output.is_empty();
                break;
            }
            let (used, found) = self.parser.read(store.memory(), &input[consumed..]);
            consumed += used;
            match found {
                Found::Nothing => {}
                Found::Command => {
                    let args = core::mem::take(&mut self.parser.args);
                    commands::execute(store, client, now_ms, &args, output);
                    self.parser.args = args;
                }
                Found::TooLarge => commands::refuse_for_memory(output),
                Found::Error(message) => {
                    output.error(message);
                    client.close = true;
                }
                Found::NoWord(byte) => {
                    let found = char::from(byte);
                    output
                        .error(&alloc::format!("ERR Protocol error: expected '$', got '{found}'"));
                    client.close = true;
                }
            }
        }
        if client.close {
            consumed = input.len();
        }
        Progress { consumed, close: client.close }
    }
}
