// SPDX-License-Identifier: GPL-3.0-or-later
//! The clients of one console: which one types, and how much was printed while none was connected.

use noxs_control::{ConsoleRole, ConsoleUse, Refusal};

use super::{ClientId, Clients};

/// Most clients of one console.
pub const MAX_VIEWERS: usize = 8;

/// The clients of a console, in the order in which they were connected.
#[derive(Debug, Default)]
pub struct Viewers {
    clients: Vec<(ClientId, ConsoleUse)>,
    /// Bytes that were printed since the last client that could type has left.
    unseen: u64,
}

/// What a client gets that was connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Whether it types.
    pub role: ConsoleRole,
    /// How many of the last bytes it gets that were printed before.
    pub history: u64,
}

impl Viewers {
    /// Connects a client.
    ///
    /// # Errors
    /// The console has as many as it may have.
    pub fn open(&mut self, client: ClientId, usage: ConsoleUse) -> Result<Connected, Refusal> {
        if self.clients.len() >= MAX_VIEWERS {
            return Err(Refusal::ConsoleBusy);
        }
        self.clients.push((client, usage));
        let role = match self.writer() {
            Some(writer) if writer == client => ConsoleRole::Writer,
            _ => ConsoleRole::Reader,
        };
        let history = match usage {
            ConsoleUse::Terminal => std::mem::take(&mut self.unseen),
            ConsoleUse::Log => u64::MAX,
        };
        Ok(Connected { role, history })
    }

    /// Disconnects a client, if it is connected. Returns the client that types instead of it, if
    /// there is one.
    pub fn close(&mut self, client: ClientId) -> Option<ClientId> {
        let before = self.writer();
        self.clients.retain(|(other, _)| *other != client);
        self.writer().filter(|_| before == Some(client))
    }

    /// Sends output to all clients, and counts it if none is there to see it.
    pub fn output(&mut self, output: &[u8], clients: &mut impl Clients) {
        if self.writer().is_none() {
            self.unseen += output.len() as u64;
        }
        for (client, _) in &self.clients {
            clients.output(*client, output);
        }
    }

    /// Returns the client that types: the first that asked for it.
    #[must_use]
    pub fn writer(&self) -> Option<ClientId> {
        let mut terminals = self.clients.iter().filter(|(_, usage)| *usage == ConsoleUse::Terminal);
        terminals.next().map(|(client, _)| *client)
    }

    /// Closes the connections of all clients.
    pub fn release(&mut self, clients: &mut impl Clients) {
        for (client, _) in self.clients.drain(..) {
            clients.close(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: ConsoleUse = ConsoleUse::Terminal;

    #[derive(Default)]
    struct Seen(Vec<(usize, Vec<u8>)>);

    impl Clients for Seen {
        fn output(&mut self, client: ClientId, output: &[u8]) {
            self.0.push((client.0, output.to_vec()));
        }

        fn close(&mut self, _: ClientId) {}

        fn input_wanted(&mut self, _: ClientId) {}
    }

    #[test]
    fn the_first_terminal_types_and_the_next_one_follows() {
        let mut viewers = Viewers::default();
        let open = |viewers: &mut Viewers, client, usage| {
            viewers.open(ClientId(client), usage).unwrap().role
        };
        assert_eq!(open(&mut viewers, 1, ConsoleUse::Log), ConsoleRole::Reader);
        assert_eq!(open(&mut viewers, 2, TERMINAL), ConsoleRole::Writer);
        assert_eq!(open(&mut viewers, 3, TERMINAL), ConsoleRole::Reader);
        assert_eq!(open(&mut viewers, 4, TERMINAL), ConsoleRole::Reader);
        assert_eq!(viewers.close(ClientId(3)), None);
        assert_eq!(viewers.close(ClientId(2)), Some(ClientId(4)));
        assert_eq!(viewers.close(ClientId(2)), None, "once");
        assert_eq!(viewers.close(ClientId(4)), None, "a log never types");
        assert_eq!(viewers.writer(), None);
    }

    #[test]
    fn a_terminal_gets_what_was_printed_while_there_was_none() {
        let mut viewers = Viewers::default();
        let mut seen = Seen::default();
        viewers.open(ClientId(1), ConsoleUse::Log).unwrap();
        viewers.output(b"boot", &mut seen);
        let history = |viewers: &mut Viewers, client| {
            viewers.open(ClientId(client), TERMINAL).unwrap().history
        };
        assert_eq!(history(&mut viewers, 2), 4);
        viewers.output(b"x", &mut seen);
        assert_eq!(history(&mut viewers, 3), 0);
        viewers.close(ClientId(2));
        viewers.output(b"y", &mut seen);
        viewers.close(ClientId(3));
        viewers.output(b"later", &mut seen);
        assert_eq!(history(&mut viewers, 4), 5);
        let of = |client| -> Vec<u8> {
            seen.0
                .iter()
                .filter(|(other, _)| *other == client)
                .flat_map(|(_, o)| o.clone())
                .collect()
        };
        assert_eq!(of(1), b"bootxylater");
        assert_eq!((of(2), of(3)), (b"x".to_vec(), b"y".to_vec()));
    }

    #[test]
    fn the_number_of_clients_is_limited() {
        let mut viewers = Viewers::default();
        for client in 0..MAX_VIEWERS {
            viewers.open(ClientId(client), TERMINAL).unwrap();
        }
        let more = ClientId(MAX_VIEWERS);
        assert_eq!(viewers.open(more, ConsoleUse::Log), Err(Refusal::ConsoleBusy));
        viewers.close(ClientId(0));
        viewers.open(more, ConsoleUse::Log).unwrap();
    }
}
