// SPDX-License-Identifier: GPL-3.0-or-later
//! The stream of bytes to and from xenstored: its socket, or the kernel's device.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use daemon::wait;
use xenstore::Frame;

use super::DEADLINE;
use super::error::StoreError;

/// The sockets of xenstored. The second one differs where `/var/run` is a folder of its own.
const SOCKETS: [&str; 2] = ["/run/xenstored/socket", "/var/run/xenstored/socket"];

/// The kernel's device for XenStore (Linux's drivers/xen/xenbus/xenbus_dev_frontend.c).
pub(crate) const XENBUS: &str = "/dev/xen/xenbus";

/// The files in which a running XenStore leaves its process, or `domid:` and its domain
/// (`XENSTORE_PID_FILE` of Xen's tools, and the path of older ones).
const PID_FILES: [&str; 4] = [
    "/run/xen/xenstored.pid",
    "/var/run/xen/xenstored.pid",
    "/run/xenstored.pid",
    "/var/run/xenstored.pid",
];

/// A connection whose reads end at a deadline.
#[derive(Debug)]
pub(super) struct Stream {
    channel: Channel,
    deadline: Instant,
}

/// What the bytes go through.
#[derive(Debug)]
enum Channel {
    /// xenstored's socket.
    Socket(UnixStream),
    /// The kernel's device. It takes one message at a time: it drops what follows the message in a
    /// write, and keeps the message in one buffer until XenStore answers.
    Device(File),
}

/// Where XenStore may be found.
#[derive(Debug)]
struct Places {
    /// Sockets, or other names of the device. The first one on which a process listens is used.
    paths: Vec<PathBuf>,
    /// The device if none of them can be used, and the pid files that say whether it can be.
    device: Option<(PathBuf, Vec<PathBuf>)>,
}

impl Stream {
    /// Connects to the socket or the device that `XENSTORED_PATH` names. If it is not set, connects
    /// to the first socket on which xenstored listens, otherwise to the kernel's device.
    ///
    /// # Errors
    /// xenstored listens on none of the sockets, and no pid file says that it runs elsewhere.
    pub(super) fn open() -> Result<Self, StoreError> {
        Self::open_at(&match env::var_os("XENSTORED_PATH") {
            Some(path) => Places { paths: vec![PathBuf::from(path)], device: None },
            None => Places {
                paths: SOCKETS.map(PathBuf::from).to_vec(),
                device: Some((PathBuf::from(XENBUS), PID_FILES.map(PathBuf::from).to_vec())),
            },
        })
    }

    fn open_at(places: &Places) -> Result<Self, StoreError> {
        for path in &places.paths {
            match UnixStream::connect(path) {
                Ok(socket) => return Self::to_socket(socket),
                Err(error) => match error.kind() {
                    // connect(2) also refuses what is not a socket.
                    io::ErrorKind::ConnectionRefused if is_device(path) => {
                        return Self::to_device(path);
                    }
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {}
                    _ => return Err(StoreError::Lost(error)),
                },
            }
        }
        match &places.device {
            // Without a XenStore the kernel would queue requests without a limit.
            Some((device, pid_files)) if pid_files.iter().any(|file| names_a_store(file)) => {
                Self::to_device(device)
            }
            _ => Err(StoreError::NotRunning {
                path: places.paths.first().cloned().unwrap_or_default(),
            }),
        }
    }

    /// Returns the stream over a socket that is connected.
    ///
    /// # Errors
    /// The kernel sets no deadline for writing.
    pub(super) fn to_socket(socket: UnixStream) -> Result<Self, StoreError> {
        socket.set_write_timeout(Some(DEADLINE)).map_err(StoreError::Lost)?;
        Ok(Self::over(Channel::Socket(socket)))
    }

    /// Returns the stream over the kernel's device.
    ///
    /// # Errors
    /// The device cannot be opened.
    fn to_device(path: &Path) -> Result<Self, StoreError> {
        let device = OpenOptions::new().read(true).write(true).open(path);
        let failed = |source| StoreError::Xenbus { path: path.to_owned(), source };
        Ok(Self::over(Channel::Device(device.map_err(failed)?)))
    }

    fn over(channel: Channel) -> Self {
        Self { channel, deadline: Instant::now() + DEADLINE }
    }

    /// Sets the deadline of all reads until the next call to [`DEADLINE`] from now on.
    pub(super) fn restart_deadline(&mut self) {
        self.deadline = Instant::now() + DEADLINE;
    }

    /// Sends the first of some whole messages, and others if the channel takes several before an
    /// answer. Returns those that are to be sent after the answer.
    ///
    /// # Errors
    /// As write(2); the peer does not take them in time.
    pub(super) fn send<'a>(&mut self, messages: &'a [u8]) -> io::Result<&'a [u8]> {
        match &mut self.channel {
            Channel::Socket(socket) => socket.write_all(messages).map(|()| &[][..]),
            Channel::Device(device) => {
                let (message, rest) = split_first(messages)?;
                device.write_all(message).map(|()| rest)
            }
        }
    }
}

/// Splits the first message off others.
fn split_first(messages: &[u8]) -> io::Result<(&[u8], &[u8])> {
    match Frame::split(messages) {
        Ok(Some((_, rest))) => Ok(messages.split_at(messages.len() - rest.len())),
        Ok(None) => Ok((messages, &[])),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidInput, error)),
    }
}

fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_char_device())
}

/// Returns whether a pid file names a process that exists, or a domain.
fn names_a_store(pid_file: &Path) -> bool {
    let Ok(text) = fs::read_to_string(pid_file) else { return false };
    match text.trim().parse::<u32>() {
        Ok(process) => Path::new("/proc").join(process.to_string()).exists(),
        Err(_) => text.starts_with("domid:"),
    }
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
            // Does not block after the poll: the kernel returns what there is.
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

    use xenstore::Batch;

    use super::*;

    #[test]
    fn the_sockets_are_tried_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = ["first", "second"].map(|name| folder.path().join(name)).into();
        let places = Places { paths: paths.clone(), device: None };
        let missing = Stream::open_at(&places);
        assert!(
            matches!(&missing, Err(StoreError::NotRunning { path }) if *path == paths[0]),
            "{missing:?}"
        );
        let _listener = UnixListener::bind(&paths[1]).unwrap();
        assert!(matches!(Stream::open_at(&places).unwrap().channel, Channel::Socket(_)));
    }

    /// `/dev/null` stands for the kernel's device.
    #[test]
    fn the_device_is_used_only_if_a_xenstore_runs() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("xenstored.pid");
        let places = Places {
            paths: vec![folder.path().join("socket")],
            device: Some(("/dev/null".into(), vec![folder.path().join("old"), pid_file.clone()])),
        };
        let is_open = || match Stream::open_at(&places) {
            Ok(stream) => matches!(stream.channel, Channel::Device(_)),
            Err(error) => !matches!(error, StoreError::NotRunning { .. }),
        };
        assert!(!is_open(), "no pid file");
        for (text, open) in [
            (format!("{}\n", std::process::id()), true),
            // Above the largest process ID of Linux.
            ("4194305\n".into(), false),
            ("domid:7\n".into(), true),
            (String::new(), false),
        ] {
            fs::write(&pid_file, &text).unwrap();
            assert_eq!(is_open(), open, "{text:?}");
        }
        // As in libxenstore, XENSTORED_PATH may name the device.
        let named = Places { paths: vec!["/dev/null".into()], device: None };
        assert!(matches!(Stream::open_at(&named).unwrap().channel, Channel::Device(_)));
    }

    #[test]
    fn the_device_gets_one_message_at_a_time_and_a_socket_all() {
        let mut batch = Batch::inside(7);
        batch.write("/a", "value");
        batch.remove("/b");
        batch.commit();
        let folder = tempfile::tempdir().unwrap();
        // Stands for the kernel's device.
        let path = folder.path().join("device");
        fs::write(&path, "").unwrap();
        let mut device = Stream::to_device(&path).unwrap();
        let (mut unsent, mut messages) = (batch.bytes(), 0);
        while !unsent.is_empty() {
            let rest = device.send(unsent).unwrap();
            let sent = fs::read(&path).unwrap();
            assert_eq!(sent, batch.bytes()[..batch.bytes().len() - rest.len()]);
            (unsent, messages) = (rest, messages + 1);
        }
        assert_eq!(messages, 3);
        let (here, _there) = UnixStream::pair().unwrap();
        assert_eq!(Stream::to_socket(here).unwrap().send(batch.bytes()).unwrap(), b"");
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
