// SPDX-License-Identifier: GPL-3.0-or-later
//! The client of xenstored.

mod error;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::env;
use std::io::{self, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use daemon::wait;
use xenstore_rs::unix::XsUnix;

pub use error::StoreError;
use xenstore::{Batch, Kind, Message};

/// Deadline of an answer. No request makes xenstored wait, so the deadline passes only if it is
/// stopped or broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// The program's name in messages.
const XENSTORED: &str = "xenstored";

/// A connection to xenstored. Requests are answered in order; events of watches arrive between the
/// answers.
#[derive(Debug)]
pub struct Connection {
    socket: BufReader<UnixStream>,
    events: VecDeque<Message>,
}

/// The answer to one request: a message, or the name of an error.
pub(crate) type Answer = Result<Message, String>;

/// Returns the socket of xenstored, found in the same way as by the crate `xenstore-rs` and Xen's
/// library.
fn socket_path() -> PathBuf {
    env::var_os("XENSTORED_PATH").map_or_else(|| "/run/xenstored/socket".into(), PathBuf::from)
}

fn connect() -> Result<UnixStream, StoreError> {
    let path = socket_path();
    UnixStream::connect(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            StoreError::NotRunning { path }
        }
        _ => StoreError::Lost(error),
    })
}

/// Opens a connection for requests without transactions, permissions and watches.
///
/// # Errors
/// xenstored does not run.
pub(crate) fn plain() -> Result<XsUnix, StoreError> {
    // Fail here if xenstored does not run: the crate would then use the kernel's device, which
    // waits for xenstored without a limit.
    drop(connect()?);
    XsUnix::new().map_err(StoreError::Lost)
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// xenstored does not run.
    pub fn open() -> Result<Self, StoreError> {
        let socket = connect()?;
        socket.set_read_timeout(Some(DEADLINE)).map_err(StoreError::Lost)?;
        socket.set_write_timeout(Some(DEADLINE)).map_err(StoreError::Lost)?;
        Ok(Self { socket: BufReader::new(socket), events: VecDeque::new() })
    }

    /// Sends requests and waits for their answers.
    pub(crate) fn ask(&mut self, batch: &Batch) -> Result<Vec<Answer>, StoreError> {
        self.socket.get_mut().write_all(batch.bytes()).map_err(lost)?;
        batch.kinds().iter().map(|kind| self.answer(*kind)).collect()
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
            let message = Message::read_from(&mut self.socket).map_err(lost)?;
            if message.is(Kind::WatchEvent) {
                self.events.push_back(message);
            } else if message.is(Kind::Error) {
                return Ok(Err(message.text().to_owned()));
            } else if message.is(kind) {
                return Ok(Ok(message));
            } else {
                return Err(StoreError::Unexpected);
            }
        }
    }

    /// Takes an event of a watch that was read already, if there is one.
    pub(crate) fn take_event(&mut self) -> Option<Message> {
        self.events.pop_front()
    }

    /// Takes an event of a watch, and waits if there is none. To avoid the wait, poll the
    /// descriptor first.
    pub(crate) fn event(&mut self) -> Result<Message, StoreError> {
        if let Some(event) = self.take_event() {
            return Ok(event);
        }
        let message = Message::read_from(&mut self.socket).map_err(lost)?;
        match message.is(Kind::WatchEvent) {
            true => Ok(message),
            false => Err(StoreError::Unexpected),
        }
    }

    /// Waits for an event of a watch and takes it. Returns `false` if the deadline came first.
    pub(crate) fn wait_for_event(&mut self, deadline: Instant) -> Result<bool, StoreError> {
        if !self.has_buffered() && !wait_readable(self.as_fd(), deadline)? {
            return Ok(false);
        }
        self.event()?;
        Ok(true)
    }

    /// Returns whether an event was read ahead, which no longer makes the descriptor readable.
    pub(crate) fn has_buffered(&self) -> bool {
        !self.events.is_empty() || !self.socket.buffer().is_empty()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
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
    /// Calls `action` with the connection. After an error it is closed, and the next call opens a
    /// new one.
    ///
    /// # Errors
    /// xenstored does not run, or `action` fails.
    pub fn call<T>(
        &self,
        action: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let kept = self.0.borrow_mut().take();
        let mut connection = kept.map_or_else(Connection::open, Ok)?;
        let result = action(&mut connection)?;
        *self.0.borrow_mut() = Some(connection);
        Ok(result)
    }
}
