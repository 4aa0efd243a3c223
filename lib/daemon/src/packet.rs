// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets over a `SOCK_SEQPACKET` socket, with any number of files beside them.
//!
//! `unsafe`: a file arrives as the number of a descriptor that the kernel has just opened in this
//! process; [`receive`] turns it into an [`OwnedFd`]. [`close_on_exec`] is a system call without a safe
//! wrapper.
#![allow(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{self, ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The most files that one packet can carry (`SCM_MAX_FD`). [`receive`] always has room for all of
/// them: descriptors from a truncated control message could stay open without an owner.
pub const MAX_FILES: usize = 253;

/// A packet that was received into a buffer.
#[derive(Debug)]
pub struct Packet {
    /// Its length in bytes.
    pub length: usize,
    /// The files that came with it, closed when dropped.
    pub files: Vec<OwnedFd>,
    /// Whether it was longer than the buffer, or brought more files than allowed.
    pub cut: bool,
}

/// Marks all descriptors of this process but the standard ones, so that a program that it starts gets
/// none of them. Those that Rust opens are marked anyway; those that this process has inherited may not be.
pub fn close_on_exec() {
    // SAFETY: `close_range` with this flag closes nothing: it sets a flag of the descriptors, which takes
    // effect when this process executes another program. It accesses no memory.
    let result =
        unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
    // Linux has the flag since version 5.11.
    debug_assert_eq!(result, 0, "the descriptors cannot be marked");
}

/// Receives a packet without waiting. Returns `None` at the end of the connection. A packet that
/// brings more than `max_files` files is marked as [`cut`](Packet::cut).
///
/// # Errors
/// `EAGAIN` if there is no packet, `EINTR` if a signal came; after any other error the connection
/// is unusable.
pub fn receive(
    socket: &impl AsFd,
    buffer: &mut [u8],
    max_files: usize,
) -> Result<Option<Packet>, Errno> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut space = cmsg_space!([RawFd; MAX_FILES]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let fd = socket.as_fd().as_raw_fd();
    let message = recvmsg::<()>(fd, &mut parts, Some(&mut space), flags)?;
    let mut files = Vec::new();
    for message in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = message {
            // SAFETY: `from_raw_fd` needs an open descriptor without another owner. The kernel has
            // opened these in this process for this message, and no code knows their numbers but
            // from this message; the iterator yields each once.
            files.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.bytes == 0 && files.is_empty() {
        return Ok(None);
    }
    let cut = message.flags.contains(MsgFlags::MSG_TRUNC) || files.len() > max_files;
    Ok(Some(Packet { length: message.bytes, files, cut }))
}

/// Sends a packet with files without waiting.
///
/// # Errors
/// `EAGAIN` if the socket has no room for it; after any other error the connection is unusable.
pub fn send(socket: &impl AsFd, packet: &[u8], files: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    send_with(socket, packet, files, MsgFlags::MSG_DONTWAIT)
}

/// Sends a packet with files, and waits for room as long as the socket's time-out allows.
///
/// # Errors
/// `EAGAIN` if there was no room in time; after any other error the connection is unusable.
pub fn send_waiting(
    socket: &impl AsFd,
    packet: &[u8],
    files: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    send_with(socket, packet, files, MsgFlags::empty())
}

fn send_with(
    socket: &impl AsFd,
    packet: &[u8],
    files: &[BorrowedFd<'_>],
    flags: MsgFlags,
) -> Result<(), Errno> {
    let fd = socket.as_fd().as_raw_fd();
    let flags = flags | MsgFlags::MSG_NOSIGNAL;
    let with_rights = |fds: &[RawFd]| {
        let rights = [ControlMessage::ScmRights(fds)];
        sendmsg::<()>(fd, &[IoSlice::new(packet)], &rights, flags, None)
    };
    match files {
        [] => socket::send(fd, packet, flags),
        [one] => with_rights(&[one.as_raw_fd()]),
        many => with_rights(&many.iter().map(AsRawFd::as_raw_fd).collect::<Vec<_>>()),
    }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, pipe};

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    #[test]
    fn packets_arrive_whole_until_the_connection_ends() {
        let (here, there) = pair();
        let mut buffer = [0; 16];
        assert_eq!(receive(&here, &mut buffer, 0).unwrap_err(), Errno::EAGAIN);
        send(&there, b"hello", &[]).unwrap();
        send(&there, b"you", &[]).unwrap();
        let packet = receive(&here, &mut buffer, 0).unwrap().unwrap();
        assert_eq!((packet.length, packet.cut, &buffer[..5]), (5, false, &b"hello"[..]));
        assert!(packet.files.is_empty());
        assert_eq!(receive(&here, &mut buffer, 0).unwrap().unwrap().length, 3);
        drop(there);
        assert!(receive(&here, &mut buffer, 0).unwrap().is_none());
    }

    #[test]
    fn files_arrive_in_order_in_both_directions() {
        let (here, there) = pair();
        for (from, to) in [(&here, &there), (&there, &here)] {
            let pipes: Vec<_> = (0..3).map(|_| pipe().unwrap()).collect();
            let files: Vec<_> = pipes.iter().map(|(_, writer)| writer.as_fd()).collect();
            send_waiting(from, b"x", &files).unwrap();
            let packet = receive(to, &mut [0; 4], 3).unwrap().unwrap();
            assert!(!packet.cut && packet.files.len() == 3);
            for (number, file) in (0..).zip(packet.files) {
                std::io::Write::write_all(&mut File::from(file), &[number]).unwrap();
            }
            for (number, (mut reader, writer)) in (0..).zip(pipes) {
                drop(writer);
                let mut read = Vec::new();
                reader.read_to_end(&mut read).unwrap();
                assert_eq!(read, [number]);
            }
        }
    }

    #[test]
    fn too_many_bytes_or_files_are_noticed_and_no_file_stays_open() {
        let (here, there) = pair();
        let mut buffer = [0; 4];
        send(&there, b"hello", &[]).unwrap();
        assert!(receive(&here, &mut buffer, 0).unwrap().unwrap().cut);

        for (count, allowed) in [(1, 0), (2, 1), (3, 2), (MAX_FILES, MAX_FILES - 1)] {
            let (mut reader, writer) = pipe().unwrap();
            send(&there, b"x", &vec![writer.as_fd(); count]).unwrap();
            drop(writer);
            assert!(receive(&here, &mut buffer, allowed).unwrap().unwrap().cut, "{count}");
            // The pipe ends, so no copy of its writer is left in this process.
            assert_eq!(reader.read(&mut buffer).unwrap(), 0, "{count}");
        }
    }
}
