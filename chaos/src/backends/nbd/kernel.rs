// SPDX-License-Identifier: GPL-3.0-or-later
//! The kernel's network block devices (Linux `drivers/block/nbd.c`), over generic netlink
//! (`linux/nbd-netlink.h`).

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use super::handshake::Export;
use crate::backends::netlink::{Message, Socket, attribute, find};

/// Where the kernel has the path of modprobe(8), for its own use.
const MODPROBE: &str = "/proc/sys/kernel/modprobe";

/// The arguments of modprobe. With `max_part=0`, the kernel looks for no partitions on what guests have written.
const LOAD: [&str; 2] = ["nbd", "max_part=0"];

/// `linux/genetlink.h`: the list of families, and where its attributes begin.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const GENL_HEADER: usize = 4;

/// `linux/nbd-netlink.h`.
const NBD_CMD_CONNECT: u8 = 1;
const NBD_CMD_DISCONNECT: u8 = 2;
const NBD_CMD_RECONFIGURE: u8 = 3;
const NBD_ATTR_INDEX: u16 = 1;
const NBD_ATTR_SIZE_BYTES: u16 = 2;
const NBD_ATTR_BLOCK_SIZE_BYTES: u16 = 3;
const NBD_ATTR_SERVER_FLAGS: u16 = 5;
const NBD_ATTR_CLIENT_FLAGS: u16 = 6;
const NBD_ATTR_SOCKETS: u16 = 7;
const NBD_ATTR_BACKEND_IDENTIFIER: u16 = 10;
const NBD_SOCK_ITEM: u16 = 1;
const NBD_SOCK_FD: u16 = 1;

/// `linux/nbd.h`: the kernel disconnects the device when its last user closes it.
const NBD_CFLAG_DISCONNECT_ON_CLOSE: u64 = 1 << 1;

/// When a device is disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// When its last user closes it.
    UntilClosed,
    /// When it is given the other lifetime and its last user closes it.
    Kept,
}

/// The driver.
#[derive(Debug)]
pub(super) struct Driver {
    socket: Socket,
    family: u16,
}

impl Driver {
    /// Finds it. Returns `None` if the module is not loaded.
    pub(super) fn find() -> Result<Option<Self>, Errno> {
        let socket = Socket::open(SockProtocol::NetlinkGeneric)?;
        let mut message = command(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
        message.attribute(CTRL_ATTR_FAMILY_NAME, b"nbd\0");
        let answer = match socket.ask(message) {
            Err(Errno::ENOENT) => return Ok(None),
            answer => answer?,
        };
        let id = value(&answer, CTRL_ATTR_FAMILY_ID).and_then(|bytes| bytes.try_into().ok());
        let family = id.map(u16::from_ne_bytes).ok_or(Errno::EBADMSG)?;
        Ok(Some(Self { socket, family }))
    }

    /// Finds it, and loads its module first if need be. Returns `None` if the module cannot be loaded: chaosd
    /// may not do so.
    pub(super) fn find_or_load() -> Result<Option<Self>, Errno> {
        if let Some(driver) = Self::find()? {
            return Ok(Some(driver));
        }
        // If it fails, or there is no such program, the driver is missing all the same.
        if let Ok(program) = fs::read_to_string(MODPROBE) {
            let _ = Command::new(program.trim()).args(LOAD).stdin(Stdio::null()).output();
        }
        Self::find()
    }

    /// Connects a free device, which the kernel chooses, to a server behind a socket. Returns its number.
    pub(super) fn connect(
        &self,
        server: BorrowedFd<'_>,
        export: Export,
        identifier: &str,
    ) -> Result<u32, Errno> {
        let answer = self.socket.ask(connection(self.family, server, export, identifier))?;
        let index = value(&answer, NBD_ATTR_INDEX).and_then(|bytes| bytes.try_into().ok());
        index.map(u32::from_ne_bytes).ok_or(Errno::EBADMSG)
    }

    /// Changes when a device is disconnected.
    ///
    /// `EINVAL` if it is not connected, or not with this identifier: the kernel compares it.
    pub(super) fn set_lifetime(
        &self,
        index: u32,
        identifier: &str,
        lifetime: Lifetime,
    ) -> Result<(), Errno> {
        let flags = match lifetime {
            Lifetime::UntilClosed => NBD_CFLAG_DISCONNECT_ON_CLOSE,
            Lifetime::Kept => 0,
        };
        let mut message = command(self.family, NBD_CMD_RECONFIGURE);
        message.attribute(NBD_ATTR_INDEX, &index.to_ne_bytes());
        message.attribute(NBD_ATTR_CLIENT_FLAGS, &flags.to_ne_bytes());
        message.attribute(NBD_ATTR_BACKEND_IDENTIFIER, &terminated(identifier));
        self.socket.order(message)
    }

    /// Disconnects a device that this process has just connected and cannot use.
    pub(super) fn disconnect(&self, index: u32) -> Result<(), Errno> {
        let mut message = command(self.family, NBD_CMD_DISCONNECT);
        message.attribute(NBD_ATTR_INDEX, &index.to_ne_bytes());
        self.socket.order(message)
    }
}

fn connection(family: u16, server: BorrowedFd<'_>, export: Export, identifier: &str) -> Message {
    let fd = server.as_raw_fd().cast_unsigned();
    let socket = attribute(NBD_SOCK_ITEM, &attribute(NBD_SOCK_FD, &fd.to_ne_bytes()));
    let mut message = command(family, NBD_CMD_CONNECT);
    message.attribute(NBD_ATTR_SIZE_BYTES, &export.size.to_ne_bytes());
    message.attribute(NBD_ATTR_BLOCK_SIZE_BYTES, &u64::from(disk::SECTOR).to_ne_bytes());
    message.attribute(NBD_ATTR_SERVER_FLAGS, &u64::from(export.flags).to_ne_bytes());
    message.attribute(NBD_ATTR_SOCKETS, &socket);
    message.attribute(NBD_ATTR_BACKEND_IDENTIFIER, &terminated(identifier));
    message
}

/// Returns a message of a family: `struct genlmsghdr` with version 1.
fn command(family: u16, command: u8) -> Message {
    let mut message = Message::new(family);
    message.bytes(&[command, 1, 0, 0]);
    message
}

fn value(answer: &[u8], kind: u16) -> Option<&[u8]> {
    find(answer.get(GENL_HEADER..)?, kind)
}

fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_connection_has_the_layout_of_the_kernel_headers() {
        let stdin = io::stdin();
        let export = Export { size: 4 << 20, flags: 0x25 };
        let bytes = connection(30, stdin.as_fd(), export, "chaos").finished(0);
        assert_eq!(&bytes[..8], [84, 0, 0, 0, 30, 0, 1, 0]);
        let (header, attributes) = bytes[16..].split_at(GENL_HEADER);
        assert_eq!(header, [NBD_CMD_CONNECT, 1, 0, 0]);
        assert_eq!(find(attributes, NBD_ATTR_SIZE_BYTES), Some(&[0, 0, 64, 0, 0, 0, 0, 0][..]));
        assert_eq!(find(attributes, NBD_ATTR_BLOCK_SIZE_BYTES).unwrap()[..2], [0, 2]);
        assert_eq!(find(attributes, NBD_ATTR_SERVER_FLAGS).unwrap()[..2], [0x25, 0]);
        let socket = find(attributes, NBD_ATTR_SOCKETS).unwrap();
        assert_eq!(socket, [12, 0, 1, 0, 8, 0, 1, 0, 0, 0, 0, 0]);
        assert_eq!(find(attributes, NBD_ATTR_BACKEND_IDENTIFIER), Some(&b"chaos\0"[..]));
        // The kernel chooses the device.
        assert_eq!(find(attributes, NBD_ATTR_INDEX), None);
    }
}
