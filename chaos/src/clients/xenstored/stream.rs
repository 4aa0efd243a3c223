// SPDX-License-Identifier: GPL-3.0-or-later
//! The stream of bytes to and from xenstored: its socket, or the kernel's device.
//!
//! The socket is looked for where Xen's library does (`xs_open` in tools/libs/store/xs.c). The
//! device comes second, also as in Xen's library: it reaches a xenstored that runs in a domain of
//! its own, or whose socket is out of reach.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use daemon::wait;
use xenstore::{HEADER, Header};

use super::DEADLINE;
use super::error::StoreError;

/// The sockets of xenstored. The second one differs where `/var/run` is a folder of its own.
const SOCKETS: [&str; 2] = ["/run/xenstored/socket", "/var/run/xenstored/socket"];

/// The kernel's device for XenStore (Linux' `xenbus_dev_frontend.c`).
const DEVICE: &str = "/dev/xen/xenbus";

/// The files that show that a xenstored was started, in dom0 or in a domain of its own
/// (`init-xenstore-domain.c`). Without one of them the device is not used: the kernel queues
/// requests to a xenstored that does not exist, and never answers them.
const PID_FILES: [&str; 4] = [
    "/run/xen/xenstored.pid",
    "/var/run/xen/xenstored.pid",
    "/run/xenstored.pid",
    "/run/xenstore.pid",
];

/// A connection whose reads end at a deadline.
#[derive(Debug)]
pub(super) struct Stream {
    channel: Channel,
    deadline: Instant,
}

#[derive(Debug)]
enum Channel {
    Socket(UnixStream),
    Device(File),
}

impl Stream {
    /// Connects. Returns also whether that was through the device, where xenstored may not run.
    ///
    /// # Errors
    /// There is neither a socket nor a device.
    pub(super) fn open() -> Result<(Self, bool), StoreError> {
        let sockets = match env::var_os("XENSTORED_PATH") {
            Some(path) => vec![PathBuf::from(path)],
            None => SOCKETS.map(PathBuf::from).to_vec(),
        };
        let was_started = || PID_FILES.iter().any(|path| Path::new(path).exists());
        Self::open_at(&sockets, Path::new(DEVICE), was_started)
    }

    fn open_at(
        sockets: &[PathBuf],
        device: &Path,
        was_started: impl FnOnce() -> bool,
    ) -> Result<(Self, bool), StoreError> {
        for path in sockets {
            match UnixStream::connect(path) {
                Ok(socket) => return Ok((Self::to_socket(socket)?, false)),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => return Err(StoreError::Lost(error)),
            }
        }
        if was_started()
            && let Ok(device) = OpenOptions::new().read(true).write(true).open(device)
        {
            return Ok((Self::over(Channel::Device(device)), true));
        }
        Err(StoreError::NotRunning { path: sockets.first().cloned().unwrap_or_default() })
    }

    /// Returns the stream over a socket that is connected.
    ///
    /// # Errors
    /// The kernel sets no deadline for writing.
    pub(super) fn to_socket(socket: UnixStream) -> Result<Self, StoreError> {
        socket.set_write_timeout(Some(DEADLINE)).map_err(StoreError::Lost)?;
        Ok(Self::over(Channel::Socket(socket)))
    }

    fn over(channel: Channel) -> Self {
        Self { channel, deadline: Instant::now() + DEADLINE }
    }

    /// Sets the deadline of all reads until the next call to [`DEADLINE`] from now on.
    pub(super) fn restart_deadline(&mut self) {
        self.deadline = Instant::now() + DEADLINE;
    }

    /// Sends whole messages.
    ///
    /// # Errors
    /// As write(2); the peer does not take them in time.
    pub(super) fn send(&mut self, mut messages: &[u8]) -> io::Result<()> {
        match &mut self.channel {
            Channel::Socket(socket) => socket.write_all(messages),
            // The kernel takes one message with each call.
            Channel::Device(device) => {
                while !messages.is_empty() {
                    let (message, rest) = messages.split_at(first_message(messages));
                    device.write_all(message)?;
                    messages = rest;
                }
                Ok(())
            }
        }
    }
}

/// Returns the length in bytes of the first of several messages.
fn first_message(messages: &[u8]) -> usize {
    let payload = messages
        .first_chunk::<HEADER>()
        .and_then(|header| Header::from_bytes(*header).payload_length().ok());
    payload.map_or(messages.len(), |length| messages.len().min(HEADER + length))
}

impl Read for Stream {
    /// Reads until the deadline, also if data never ceases to come.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let too_late = Instant::now() >= self.deadline;
        if too_late || !wait::readable(self.as_fd(), self.deadline).map_err(io::Error::from)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match &mut self.channel {
            Channel::Socket(socket) => socket.read(buffer),
            Channel::Device(device) => device.read(buffer),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.channel {
            Channel::Socket(socket) => socket.as_fd(),
            Channel::Device(device) => device.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_sockets_are_tried_in_order_and_then_the_device() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name| folder.path().join(name);
        let sockets = [at("first"), at("second")];
        let device = at("device");
        let open = |started| Stream::open_at(&sockets, &device, || started);
        let missing = open(true);
        assert!(
            matches!(&missing, Err(StoreError::NotRunning { path }) if *path == sockets[0]),
            "{missing:?}"
        );
        std::fs::write(&device, "").unwrap();
        assert!(open(true).unwrap().1, "through the device");
        let unstarted = open(false);
        assert!(matches!(unstarted, Err(StoreError::NotRunning { .. })), "{unstarted:?}");
        let _listener = UnixListener::bind(&sockets[1]).unwrap();
        assert!(!open(true).unwrap().1, "through a socket");
    }

    #[test]
    fn data_that_never_ceases_does_not_move_the_deadline() {
        let (here, mut there) = UnixStream::pair().unwrap();
        there.write_all(&[0; 64]).unwrap();
        let mut stream = Stream::over(Channel::Socket(here));
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
        let mut stream = Stream::over(Channel::Socket(here));
        stream.deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn messages_are_split_for_the_device() {
        let mut batch = xenstore::Batch::new();
        batch.read("/a");
        let first = batch.bytes().len();
        batch.write("/b", "value");
        assert_eq!(first_message(batch.bytes()), first);
        assert_eq!(first_message(&batch.bytes()[first..]), batch.bytes().len() - first);
        assert_eq!(first_message(&batch.bytes()[..5]), 5, "cut short");
    }
}
