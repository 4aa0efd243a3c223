//! Packets over a `SOCK_SEQPACKET` socket, with at most one file descriptor.
//!
//! A file descriptor arrives as a number whose ownership the kernel has just given to this
//! process; taking it is the module's one use of `unsafe`.
#![allow(unsafe_code)]

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{self, ControlMessageOwned, MsgFlags, recvmsg};

/// Files that the kernel lets one packet carry (`SCM_MAX_FD`). There is always room for all: those
/// that do not fit into a truncated control message could be left open without an owner.
const MAX_FILES: usize = 253;

/// A packet that was received into a buffer.
#[derive(Debug)]
pub struct Packet {
    /// Its length.
    pub length: usize,
    /// The file that came with it.
    pub file: Option<OwnedFd>,
    /// The packet or its files did not fit: some of it is lost.
    pub cut: bool,
}

/// Takes a packet without waiting; `None` at the end of the connection.
///
/// # Errors
/// `EAGAIN` if there is none; anything else means that the connection is of no use any more.
pub fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> Result<Option<Packet>, Errno> {
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
    let cut = message.flags.contains(MsgFlags::MSG_TRUNC) || files.len() > 1;
    if message.bytes == 0 && files.is_empty() {
        return Ok(None);
    }
    Ok(Some(Packet { length: message.bytes, file: files.pop(), cut }))
}

/// Sends a packet without waiting.
///
/// # Errors
/// `EAGAIN` if there is no room for it; anything else means that the connection is of no use any
/// more.
pub fn send(socket: &impl AsFd, packet: &[u8]) -> Result<(), Errno> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    socket::send(socket.as_fd().as_raw_fd(), packet, flags)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::IoSlice;

    use nix::fcntl::OFlag;
    use nix::sys::socket::{
        AddressFamily, ControlMessage, SockFlag, SockType, sendmsg, socketpair,
    };

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    fn send_with(socket: &OwnedFd, packet: &[u8], files: &[RawFd]) {
        let rights = [ControlMessage::ScmRights(files)];
        let parts = [IoSlice::new(packet)];
        sendmsg::<()>(socket.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).unwrap();
    }

    #[test]
    fn packets_and_files_arrive_whole() {
        let (here, there) = pair();
        let mut buffer = [0; 16];
        assert_eq!(receive(&here, &mut buffer).unwrap_err(), Errno::EAGAIN);
        send(&there, b"hello").unwrap();
        let packet = receive(&here, &mut buffer).unwrap().unwrap();
        assert_eq!((packet.length, packet.cut), (5, false));
        assert!(packet.file.is_none());

        let file = File::open("/dev/null").unwrap();
        send_with(&there, b"x", &[file.as_raw_fd()]);
        let packet = receive(&here, &mut buffer).unwrap().unwrap();
        assert!(packet.file.is_some() && !packet.cut);
        drop(there);
        assert!(receive(&here, &mut buffer).unwrap().is_none());
    }

    #[test]
    fn too_much_is_noticed_and_nothing_is_left_open() {
        let (here, there) = pair();
        let mut buffer = [0; 4];
        send(&there, b"hello").unwrap();
        assert!(receive(&here, &mut buffer).unwrap().unwrap().cut);

        for count in [2, 3, MAX_FILES] {
            let (read, write) = nix::unistd::pipe2(OFlag::O_NONBLOCK).unwrap();
            send_with(&there, b"x", &vec![write.as_raw_fd(); count]);
            drop(write);
            assert!(receive(&here, &mut buffer).unwrap().unwrap().cut, "{count}");
            // The pipe has ended: no copy of its other end is left in this process.
            assert_eq!(nix::unistd::read(&read, &mut buffer), Ok(0), "{count}");
        }
    }
}
