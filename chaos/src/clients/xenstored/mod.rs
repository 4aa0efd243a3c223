//! A connection to xenstored.

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

/// How long xenstored may take to answer. It does nothing that waits, so only a stopped or a broken
/// one takes this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Who is asked, in messages.
const XENSTORED: &str = "xenstored";

/// A connection to xenstored. Requests are answered in their order; events of watches come in
/// between.
#[derive(Debug)]
pub struct Connection {
    socket: BufReader<UnixStream>,
    events: VecDeque<Message>,
}

/// xenstored's answer to one request: its message, or the name of an error.
pub(crate) type Answer = Result<Message, String>;

/// Where xenstored listens: as the crate `xenstore-rs` and Xen's own library have it.
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

/// A connection for what needs no transaction, permission or watch.
///
/// # Errors
/// Nobody listens.
pub(crate) fn plain() -> Result<XsUnix, StoreError> {
    // Where nobody listens, the crate would go through the kernel, which waits for xenstored without
    // an end.
    drop(connect()?);
    XsUnix::new().map_err(StoreError::Lost)
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
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

    /// Sends requests of which none may be refused.
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

    /// Takes an event of a watch if one is there already.
    pub(crate) fn take_event(&mut self) -> Option<Message> {
        self.events.pop_front()
    }

    /// Waits for an event of a watch; whoever cannot wait asks the descriptor first.
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

    /// Waits for an event of a watch and takes it. `false` if the deadline came first.
    pub(crate) fn wait_for_event(&mut self, deadline: Instant) -> Result<bool, StoreError> {
        if !self.has_buffered() && !wait_readable(self.as_fd(), deadline)? {
            return Ok(false);
        }
        self.event()?;
        Ok(true)
    }

    /// Whether something was received that has not been looked at.
    pub(crate) fn has_buffered(&self) -> bool {
        !self.events.is_empty() || !self.socket.buffer().is_empty()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

/// Waits until something can be read. Returns `false` if the deadline came first.
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

/// xenstored, connected to when it is needed first.
#[derive(Debug, Default)]
pub struct Link(RefCell<Option<Connection>>);

impl Link {
    /// Does something with the connection. One that has failed is not used again.
    ///
    /// # Errors
    /// Nobody listens, or what `act` gives.
    pub fn call<T>(
        &self,
        act: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let kept = self.0.borrow_mut().take();
        let mut connection = kept.map_or_else(Connection::open, Ok)?;
        let result = act(&mut connection)?;
        *self.0.borrow_mut() = Some(connection);
        Ok(result)
    }
}
