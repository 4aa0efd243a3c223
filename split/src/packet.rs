//! Requests as they arrive: packets with files.
//!
//! `unsafe`: a file descriptor arrives as a number whose ownership the kernel has just given away.
#![allow(unsafe_code)]

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// Files that the kernel lets one packet carry (`SCM_MAX_FD`). There is always room for all, or
/// those that do not fit could be left open without an owner.
const MAX_FILES: usize = 253;

/// A packet in a buffer.
#[derive(Debug)]
pub(crate) struct Packet {
    /// Its length. 0 at the end of the connection.
    pub(crate) length: usize,
    /// The files that came with it.
    pub(crate) files: Vec<OwnedFd>,
    /// It did not fit into the buffer.
    pub(crate) cut: bool,
}

/// Takes a packet without waiting.
pub(crate) fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> Result<Packet, Errno> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut space = cmsg_space!([RawFd; MAX_FILES]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let fd = socket.as_fd().as_raw_fd();
    let message = recvmsg::<()>(fd, &mut parts, Some(&mut space), flags)?;
    let mut files = Vec::new();
    for message in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = message {
            // SAFETY: the kernel has installed these descriptors in this process for this
            // message; nobody else knows their numbers, so each is taken by one owner, once.
            files.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let cut = message.flags.contains(MsgFlags::MSG_TRUNC);
    Ok(Packet { length: message.bytes, files, cut })
}
