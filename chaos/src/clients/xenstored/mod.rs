// SPDX-License-Identifier: GPL-3.0-or-later
//! The client of xenstored.

mod error;
mod stream;

use std::cell::RefCell;
use std::io::{self, BufReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use daemon::wait;
use xenstore::{Batch, ErrorName, Kind, Message};

pub use error::{StoreError, StoreRefusal};
use stream::Stream;
pub(crate) use stream::XENBUS;

/// Deadline of an answer. No request makes xenstored wait, so the deadline passes only if it is
/// stopped or broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// The program's name in messages.
const XENSTORED: &str = "xenstored";

/// A connection to xenstored. Requests are answered in order; events of watches arrive between the
/// answers.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<Stream>,
    /// Whether an event was read while an answer was expected. Only one is remembered, whatever
    /// their number: a guest that writes to a watched node in a loop causes any number of them.
    has_event: bool,
}

/// The answer to one request.
pub(crate) type Answer = Result<Message, StoreRefusal>;

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// xenstored does not run.
    pub fn open() -> Result<Self, StoreError> {
        Ok(Self { stream: BufReader::new(Stream::open()?), has_event: false })
    }

    /// Returns the connection over a socket to a xenstored of a test.
    #[cfg(test)]
    pub(crate) fn over(socket: std::os::unix::net::UnixStream) -> Self {
        let stream = BufReader::new(Stream::to_socket(socket).unwrap());
        Self { stream, has_event: false }
    }

    /// Sends requests and waits for their answers, at most for [`DEADLINE`].
    pub(crate) fn ask(&mut self, batch: &Batch) -> Result<Vec<Answer>, StoreError> {
        self.stream.get_mut().restart_deadline();
        let mut unsent = batch.bytes();
        let mut answers = Vec::with_capacity(batch.kinds().len());
        for kind in batch.kinds() {
            if !unsent.is_empty() {
                unsent = self.stream.get_mut().send(unsent).map_err(lost)?;
            }
            answers.push(self.answer(*kind)?);
        }
        Ok(answers)
    }

    /// Sends requests and waits for their answers. A refused request is an error.
    pub(crate) fn demand(&mut self, batch: &Batch) -> Result<Vec<Message>, StoreError> {
        let answers = self.ask(batch)?;
        let demanded = (0..).zip(answers).map(|(number, answer)| {
            answer.map_err(|reason| StoreError::Refused { doing: batch.describe(number), reason })
        });
        demanded.collect()
    }

    fn answer(&mut self, kind: Kind) -> Result<Answer, StoreError> {
        loop {
            let message = Message::read_from(&mut self.stream).map_err(lost)?;
            if message.is(Kind::WatchEvent) {
                self.has_event = true;
            } else if message.is(Kind::Error) {
                return Ok(Err(StoreRefusal::named(message.text())));
            } else if message.is(kind) {
                return Ok(Ok(message));
            } else {
                return Err(StoreError::Unexpected);
            }
        }
    }

    /// Returns the value of a node, if it exists.
    pub(crate) fn read(&mut self, path: &str) -> Result<Option<String>, StoreError> {
        let mut batch = Batch::new();
        batch.read(path);
        let answer = self.ask(&batch)?.pop();
        Ok(answer.and_then(Result::ok).map(|message| message.text().to_owned()))
    }

    /// Removes nodes, those that exist.
    pub(crate) fn remove(&mut self, nodes: &[String]) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        nodes.iter().for_each(|node| batch.remove(node));
        for (number, answer) in (0..).zip(self.ask(&batch)?) {
            match answer {
                Err(reason) if reason != StoreRefusal::Known(ErrorName::NotFound) => {
                    return Err(StoreError::Refused { doing: batch.describe(number), reason });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Forgets the events that were read ahead.
    pub(crate) fn forget_events(&mut self) {
        self.has_event = false;
    }

    /// Takes an event of a watch, and waits if there is none. To avoid the wait, poll the
    /// descriptor first.
    pub(crate) fn take_event(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut self.has_event) {
            return Ok(());
        }
        self.stream.get_mut().restart_deadline();
        let message = Message::read_from(&mut self.stream).map_err(lost)?;
        match message.is(Kind::WatchEvent) {
            true => Ok(()),
            false => Err(StoreError::Unexpected),
        }
    }

    /// Waits for an event of a watch and takes it. Returns `false` if the deadline came first, or
    /// has passed, whether there are events or not.
    pub(crate) fn wait_for_event(&mut self, deadline: Instant) -> Result<bool, StoreError> {
        let is_late = Instant::now() >= deadline;
        if is_late || !self.has_buffered() && !wait_readable(self.as_fd(), deadline)? {
            return Ok(false);
        }
        self.take_event()?;
        Ok(true)
    }

    /// Returns whether an event was read ahead, which no longer makes the descriptor readable.
    pub(crate) fn has_buffered(&self) -> bool {
        self.has_event || !self.stream.buffer().is_empty()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}

/// Waits until a descriptor can be read. Returns `false` if the deadline came first.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) -> Result<bool, StoreError> {
    wait::readable(fd, deadline).map_err(|errno| StoreError::Lost(errno.into()))
}

fn lost(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            StoreError::Silent { program: XENSTORED, after: DEADLINE }
        }
        _ => StoreError::Lost(error),
    }
}

/// A connection to xenstored that is opened when it is first needed, and kept.
#[derive(Debug, Default)]
pub struct Link(RefCell<Option<Connection>>);

impl Link {
    /// Returns one whose connection is open already.
    #[cfg(test)]
    pub(crate) fn over(connection: Connection) -> Self {
        Self(RefCell::new(Some(connection)))
    }

    /// Calls `action` with the connection. After an error it is closed, and the next call opens a
    /// new one.
    ///
    /// # Errors
    /// xenstored does not run, or `action` fails.
    pub fn call<T, E: From<StoreError>>(
        &self,
        action: impl FnOnce(&mut Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let kept = self.0.borrow_mut().take();
        let mut connection = kept.map_or_else(Connection::open, Ok)?;
        let result = action(&mut connection)?;
        *self.0.borrow_mut() = Some(connection);
        Ok(result)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Returns a connection to a xenstored that has sent these messages already.
    pub(crate) fn connection(messages: &[(Kind, &[u8])]) -> (Connection, UnixStream) {
        let (here, mut there) = UnixStream::pair().unwrap();
        for (kind, payload) in messages {
            for word in [*kind as u32, 0, 0, u32::try_from(payload.len()).unwrap()] {
                there.write_all(&word.to_le_bytes()).unwrap();
            }
            there.write_all(payload).unwrap();
        }
        (Connection::over(here), there)
    }

    const EVENT: (Kind, &[u8]) = (Kind::WatchEvent, b"/a\0token\0");

    #[test]
    fn events_that_never_cease_do_not_move_a_deadline() {
        let (mut connection, _xenstored) = connection(&[EVENT; 40]);
        let soon = Instant::now() + DEADLINE;
        assert!(connection.wait_for_event(soon).unwrap());
        assert!(connection.has_buffered());
        assert!(!connection.wait_for_event(Instant::now()).unwrap());
    }

    #[test]
    fn events_before_an_answer_are_remembered_as_one() {
        let (mut connection, _xenstored) =
            connection(&[EVENT, EVENT, EVENT, (Kind::Read, b"value")]);
        assert_eq!(connection.read("/a").unwrap().as_deref(), Some("value"));
        assert!(connection.wait_for_event(Instant::now() + DEADLINE).unwrap());
        assert!(!connection.has_buffered());
    }

    #[test]
    fn a_node_that_does_not_exist_is_removed_and_another_refusal_is_reported() {
        let nodes = ["/a".to_owned(), "/b".to_owned()];
        let (mut missing, _xenstored) =
            connection(&[(Kind::Error, b"ENOENT\0"), (Kind::Remove, b"OK\0")]);
        missing.remove(&nodes).unwrap();
        let (mut refused, _xenstored) =
            connection(&[(Kind::Remove, b"OK\0"), (Kind::Error, b"EACCES\0")]);
        let error = refused.remove(&nodes).unwrap_err();
        let text = daemon::chain::chain(&error);
        assert!(text.contains("remove /b: EACCES"), "{text}");
    }
}
