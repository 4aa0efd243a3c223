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
/// there: the caller holds the [`Lock`](crate::lock::Lock). Root may connect, and the group's members
/// if there is a group.
///
/// # Errors
/// The socket cannot be created.
pub fn listen(path: &Path, group: Option<u32>) -> Result<UnixListener, ListenError> {
    create(path, group).map_err(|source| ListenError { path: path.to_owned(), source })
}

fn create(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    // Only root may connect before the group and the mode are set.
    let mask = umask(Mode::from_bits_truncate(0o177));
    let bound = bind(socket.as_raw_fd(), &UnixAddr::new(path)?);
    umask(mask);
    bound?;
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    chown(path, None, group)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    start_listening(&socket, Backlog::new(BACKLOG)?)?;
    Ok(UnixListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leftover_socket_is_replaced_and_other_users_may_not_connect() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let own_group = Some(nix::unistd::getegid().as_raw());
        drop(listen(&path, own_group).unwrap());
        assert_eq!(mode(), 0o660);
        let _listener = listen(&path, None).unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn the_error_names_the_path() {
        let error = listen(Path::new("/nonexistent/socket"), None).unwrap_err();
        assert_eq!(error.to_string(), "cannot listen on /nonexistent/socket");
    }
}
