//! One connection.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use crate::commands;
use crate::output::Output;
use crate::parser::{Found, Parser};
use crate::store::Store;

/// Replies that may wait before no further command is executed, in bytes.
const ENOUGH_OUTPUT: usize = 64 * 1024;

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    parser: Parser,
    pub(crate) client: Client,
    /// One for each connection there is.
    _counted: Rc<()>,
}

/// What commands know of their connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) name: Vec<u8>,
    pub(crate) close: bool,
    pub(crate) library: String,
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
    /// A new connection with a number of its own.
    #[must_use]
    pub fn new(id: u64, store: &mut Store) -> Self {
        store.stats.connections += 1;
        let client = Client { id, name: Vec::new(), close: false, library: String::new() };
        Self { parser: Parser::default(), client, _counted: store.count_client() }
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
        let mut consumed = 0;
        while consumed < input.len()
            && output.len() < ENOUGH_OUTPUT
            && !self.client.close
            && !output.is_full()
        {
            let (used, found) = self.parser.read(store.memory(), &input[consumed..]);
            consumed += used;
            match found {
                Found::Nothing => {}
                Found::Command => {
                    let args = core::mem::take(&mut self.parser.args);
                    commands::execute(store, &mut self.client, now_ms, &args, output);
                    self.parser.args = args;
                }
                Found::TooLarge => commands::refuse_for_memory(output),
                Found::Error(message) => {
                    output.error(message);
                    self.client.close = true;
                }
                Found::NoWord(byte) => {
                    let found = char::from(byte);
                    output
                        .error(&alloc::format!("ERR Protocol error: expected '$', got '{found}'"));
                    self.client.close = true;
                }
            }
        }
        // A peer that misses one reply would take the next for it.
        self.client.close |= output.is_full();
        if self.client.close {
            consumed = input.len();
        }
        Progress { consumed, close: self.client.close }
    }
}
