// SPDX-License-Identifier: GPL-3.0-or-later
//! The stream of bytes to and from xenstored's socket.

use std::env;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use daemon::wait;

use super::DEADLINE;
use super::error::StoreError;

/// The sockets of xenstored. The second one differs where `/var/run` is a folder of its own.
const SOCKETS: [&str; 2] = ["/run/xenstored/socket", "/var/run/xenstored/socket"];

/// A connection whose reads end at a deadline.
#[derive(Debug)]
pub(super) struct Stream {
    socket: UnixStream,
    deadline: Instant,
}

impl Stream {
    /// Connects to the socket that `XENSTORED_PATH` names, otherwise to the first one on which
    /// xenstored listens.
    ///
    /// # Errors
    /// xenstored listens on none of them.
    pub(super) fn open() -> Result<Self, StoreError> {
        let sockets = match env::var_os("XENSTORED_PATH") {
            Some(path) => vec![PathBuf::from(path)],
            None => SOCKETS.map(PathBuf::from).to_vec(),
        };
        Self::open_at(&sockets)
    }

    fn open_at(sockets: &[PathBuf]) -> Result<Self, StoreError> {
        for path in sockets {
            match UnixStream::connect(path) {
                Ok(socket) => return Self::to_socket(socket),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => return Err(StoreError::Lost(error)),
            }
        }
        Err(StoreError::NotRunning { path: sockets.first().cloned().unwrap_or_default() })
    }

    /// Returns the stream over a socket that is connected.
    ///
    /// # Errors
    /// The kernel sets no deadline for writing.
    pub(super) fn to_socket(socket: UnixStream) -> Result<Self, StoreError> {
        socket.set_write_timeout(Some(DEADLINE)).map_err(StoreError::Lost)?;
        Ok(Self { socket, deadline: Instant::now() + DEADLINE })
    }

    /// Sets the deadline of all reads until the next call to [`DEADLINE`] from now on.
    pub(super) fn restart_deadline(&mut self) {
        self.deadline = Instant::now() + DEADLINE;
    }

    /// Sends whole messages.
    ///
    /// # Errors
    /// As write(2); the peer does not take them in time.
    pub(super) fn send(&mut self, messages: &[u8]) -> io::Result<()> {
        self.socket.write_all(messages)
    }
}

impl Read for Stream {
    /// Reads until the deadline, also if data never ceases to come.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let too_late = Instant::now() >= self.deadline;
        if too_late || !wait::readable(self.as_fd(), self.deadline).map_err(io::Error::from)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.read(buffer)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_sockets_are_tried_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let sockets = ["first", "second"].map(|name| folder.path().join(name));
        let missing = Stream::open_at(&sockets);
        assert!(
            matches!(&missing, Err(StoreError::NotRunning { path }) if *path == sockets[0]),
            "{missing:?}"
        );
        let _listener = UnixListener::bind(&sockets[1]).unwrap();
        Stream::open_at(&sockets).unwrap();
    }

    #[test]
    fn data_that_never_ceases_does_not_move_the_deadline() {
        let (here, mut there) = UnixStream::pair().unwrap();
        there.write_all(&[0; 64]).unwrap();
        let mut stream = Stream::to_socket(here).unwrap();
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1);
        stream.deadline = Instant::now();
        assert_eq!(stream.read(&mut byte).unwrap_err().kind(), io::ErrorKind::TimedOut);
        stream.deadline = Instant::now() + Duration::from_secs(9);
        assert_eq!(stream.read(&mut byte).unwrap(), 1);
    }

    #[test]
    fn a_peer_that_sends_nothing_is_waited_for_until_the_deadline() {
        let (here, _there) = UnixStream::pair().unwrap();
        let mut stream = Stream::to_socket(here).unwrap();
        stream.deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
