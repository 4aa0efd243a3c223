// SPDX-License-Identifier: MIT OR Apache-2.0
//! The socket that a daemon's clients connect to.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen as start_listening, socket,
};
use nix::sys::stat::{Mode, umask};

/// The number of connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Why a daemon cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {path}")]
pub struct ListenError {
    /// The socket.
    pub path: PathBuf,
    /// The cause.
    #[source]
    pub source: io::Error,
}

/// Listens at `path`, on a non-blocking socket. Replaces a socket that an earlier daemon left
/// there: the caller holds the [`Lock`](crate::lock::Lock). Root may connect, and the group if one
/// is named: the socket's mode is 0660 then, and 0600 otherwise.
///
/// # Errors
/// The socket cannot be created.
pub fn listen(path: &Path, group: Option<u32>) -> Result<UnixListener, ListenError> {
    create(path, SockType::SeqPacket, group)
        .map_err(|source| ListenError { path: path.to_owned(), source })
}

/// As [`listen`], for a stream of bytes, which only root may open.
///
/// # Errors
/// The socket cannot be created.
pub fn listen_stream(path: &Path) -> Result<UnixListener, ListenError> {
    create(path, SockType::Stream, None)
        .map_err(|source| ListenError { path: path.to_owned(), source })
}

fn create(path: &Path, kind: SockType, group: Option<u32>) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, kind, flags, None)?;
    // The socket's mode is 0600 from the start: only root may connect before its group is set.
    let mask = umask(Mode::from_bits_truncate(0o177));
    let bound = bind(socket.as_raw_fd(), &UnixAddr::new(path)?);
    umask(mask);
    bound?;
    if group.is_some() {
        chown(path, None, group)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    }
    start_listening(&socket, Backlog::new(BACKLOG)?)?;
    Ok(UnixListener::from(socket))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_leftover_socket_is_replaced_and_only_the_named_group_may_connect() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let own_group = nix::unistd::getegid().as_raw();
        for (group, mode) in [(Some(own_group), 0o660), (None, 0o600)] {
            let _listener = listen(&path, group).unwrap();
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!((metadata.mode() & 0o777, metadata.gid()), (mode, own_group));
        }
    }

    #[test]
    fn the_error_names_the_path() {
        let error = listen(Path::new("/nonexistent/socket"), None).unwrap_err();
        assert_eq!(error.to_string(), "cannot listen on /nonexistent/socket");
    }
}
