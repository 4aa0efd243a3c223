// SPDX-License-Identifier: GPL-3.0-or-later
//! The messages of `chaosd`, which keeps shells ready, and their client.
//!
//! They are sent over a `SOCK_SEQPACKET` Unix socket, one message in each packet: root's at
//! [`SOCKET`], that of other users beside it ([`members_socket`]).
//! Each request is answered by one reply, in order. Only [`protocol`] knows the encoding.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

pub mod client;
pub mod http;
pub mod protocol;

/// Where `chaosd` listens for root.
pub const SOCKET: &str = "/run/chaos/chaosd.sock";

/// Returns where the `chaosd` that listens at `socket` for root listens for other users: beside it,
/// in `NAME-members.sock`.
#[must_use]
pub fn members_socket(socket: &Path) -> PathBuf {
    beside(socket, "-members")
}

/// Returns where the `chaosd` that listens at `socket` answers HTTP requests for metrics and events:
/// beside it, in `NAME-http.sock`.
#[must_use]
pub fn http_socket(socket: &Path) -> PathBuf {
    beside(socket, "-http")
}

fn beside(socket: &Path, suffix: &str) -> PathBuf {
    let mut name = socket.file_stem().unwrap_or_default().to_owned();
    name.push(suffix);
    if let Some(extension) = socket.extension() {
        name.push(".");
        name.push(extension);
    }
    socket.with_file_name(name)
}

/// Returns where `chaosd` listens for the user of this process.
#[must_use]
pub fn socket() -> Cow<'static, Path> {
    let root = Path::new(SOCKET);
    if geteuid().is_root() { root.into() } else { members_socket(root).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_other_users_is_beside_that_of_root() {
        let of = |path: &str| members_socket(Path::new(path));
        assert_eq!(of(SOCKET), Path::new("/run/chaos/chaosd-members.sock"));
        assert_eq!(http_socket(Path::new(SOCKET)), Path::new("/run/chaos/chaosd-http.sock"));
        assert_eq!(of("/tmp/x.y/socket"), Path::new("/tmp/x.y/socket-members"));
    }
}
