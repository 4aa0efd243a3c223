// SPDX-License-Identifier: GPL-3.0-or-later
//! Learns dom0's own addresses from the kernel, so that no guest gets them.
//!
//! The socket is opened before the system call filter forbids that. It then only reads and writes,
//! which the filter allows. The kernel delivers messages of other processes to it only if they
//! may configure the network, so their sender need not be checked.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket,
};

use crate::domains::Domains;
use crate::host::Host;
use crate::net::dom0::interfaces::Interfaces;
use crate::net::dom0::netlink::{self, List, Message};

/// Messages that the kernel sends when something changes.
const GROUPS: i32 = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;

/// Bytes for one datagram. The kernel fills at most 32 KiB, whatever the receiver has room for
/// (Linux `net/netlink/af_netlink.c`, `netlink_recvmsg`).
const DATAGRAM: usize = 64 * 1024;

/// Most datagrams that are read in one turn of the event loop.
const BATCH: usize = 16;

/// How often a list is asked for if it changes meanwhile.
const ATTEMPTS: usize = 4;

/// A socket on which the kernel reports addresses.
#[derive(Debug)]
pub(super) struct AddressWatch<S = File> {
    socket: S,
    buffer: Box<[u8]>,
}

impl AddressWatch {
    /// Opens the socket. Changes are reported from now on.
    ///
    /// # Errors
    /// The kernel has no rtnetlink, or a limit on sockets is reached.
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS.cast_unsigned()))?;
        Ok(Self { socket: File::from(socket), buffer: vec![0; DATAGRAM].into_boxed_slice() })
    }

    /// Returns the file descriptor that is readable while the kernel reports something.
    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl<S: Read + Write> AddressWatch<S> {
    /// Asks the kernel for all addresses. Never waits: the kernel writes an answer while it is
    /// read. If the lists change during each attempt, some addresses may be missing until they
    /// change again, with a warning.
    ///
    /// # Errors
    /// The kernel refuses; what was known before is kept.
    pub(super) fn refresh<H: Host>(&mut self, domains: &mut Domains<H>) -> io::Result<()> {
        let mut attempts = 0;
        let (interfaces, is_complete) = loop {
            attempts += 1;
            let (interfaces, is_complete) = self.list_all()?;
            if is_complete || attempts == ATTEMPTS {
                break (interfaces, is_complete);
            }
        };
        if !is_complete {
            tracing::warn!(
                "dom0's interfaces changed while noxsd read them, {ATTEMPTS} times: guests may be \
                 given an address of dom0 that is missing; restart noxsd to read them again"
            );
        }
        domains.set_interfaces(interfaces);
        Ok(())
    }

    /// Reads what the kernel has reported since the last call, within a limit.
    ///
    /// # Errors
    /// The kernel refuses; what was known before is kept.
    pub(super) fn serve<H: Host>(&mut self, domains: &mut Domains<H>) -> io::Result<()> {
        for _ in 0..BATCH {
            match self.socket.read(&mut self.buffer) {
                Ok(length) => {
                    domains.update_interfaces(netlink::messages(&self.buffer[..length]));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Messages were lost.
                Err(error) if is_overflow(&error) => return self.refresh(domains),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads all interfaces and addresses. Returns `false` beside them if something may be missing,
    /// because they changed meanwhile.
    fn list_all(&mut self) -> io::Result<(Interfaces, bool)> {
        let mut interfaces = Interfaces::default();
        let mut is_complete = true;
        for list in [List::Interfaces, List::Addresses] {
            self.socket.write_all(&netlink::request(list))?;
            let mut is_done = false;
            while !is_done {
                let length = match self.socket.read(&mut self.buffer) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    // The kernel accepts no other request before the list has been read.
                    Err(error) if is_overflow(&error) => {
                        is_complete = false;
                        continue;
                    }
                    result => result?,
                };
                for message in netlink::messages(&self.buffer[..length]) {
                    match message {
                        Message::Done => is_done = true,
                        Message::Interrupted => is_complete = false,
                        Message::Refused(errno) => return Err(io::Error::from_raw_os_error(errno)),
                        message => {
                            interfaces.update(message);
                        }
                    }
                }
            }
        }
        Ok((interfaces, is_complete))
    }
}

fn is_overflow(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOBUFS as i32)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::Ipv4Addr;
    use std::time::Instant;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::net::dom0::netlink::build;

    /// A socket on which the kernel says what the test has prepared, and nothing after it.
    #[derive(Default)]
    struct Kernel {
        datagrams: VecDeque<io::Result<Vec<u8>>>,
        requests: usize,
    }

    impl Read for Kernel {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let nothing = || Err(ErrorKind::WouldBlock.into());
            self.datagrams.pop_front().unwrap_or_else(nothing)?.as_slice().read(buffer)
        }
    }

    impl Write for Kernel {
        fn write(&mut self, request: &[u8]) -> io::Result<usize> {
            self.requests += 1;
            Ok(request.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the error after the kernel has dropped messages.
    fn overflow() -> io::Result<Vec<u8>> {
        Err(Errno::ENOBUFS.into())
    }

    fn done() -> Vec<u8> {
        build::message(u16::try_from(libc::NLMSG_DONE).unwrap(), 0, &[0; 4])
    }

    /// Returns the two lists that the kernel sends on request: bridge xenbr0 has this address.
    fn lists(address: [u8; 4]) -> [io::Result<Vec<u8>>; 2] {
        let interface = build::interface(libc::RTM_NEWLINK, 0, 7, "xenbr0");
        let address = build::address(libc::RTM_NEWADDR, 7, &[(2, &address)]);
        [interface, address].map(|list| Ok([list, done()].concat()))
    }

    #[test]
    fn all_is_read_again_after_messages_were_lost() {
        let (old, new): ([u8; 4], [u8; 4]) = ([10, 0, 0, 1], [10, 0, 0, 254]);
        let buffer = vec![0; DATAGRAM].into_boxed_slice();
        let mut watch = AddressWatch { socket: Kernel::default(), buffer };
        let mut domains = Domains::new(FakeHost::default(), Instant::now());
        let (tap, _) = nix::unistd::pipe().unwrap();
        domains.add_switch("xenbr0", File::from(tap), Instant::now()).unwrap();
        watch.socket.datagrams.extend(lists(old));
        watch.refresh(&mut domains).unwrap();
        let has = |domains: &Domains<FakeHost>, address| {
            domains.dom0_has("xenbr0", Ipv4Addr::from(address))
        };
        assert!(has(&domains, old) && !has(&domains, new));

        // The message about the change was lost, and so is one while the list is read.
        watch.socket.datagrams.push_back(overflow());
        watch.socket.datagrams.extend(lists(old));
        watch.socket.datagrams.insert(2, overflow());
        watch.socket.datagrams.extend(lists(new));
        watch.serve(&mut domains).unwrap();
        assert!(has(&domains, new) && !has(&domains, old));
        assert_eq!(watch.socket.requests, 6, "three times, interfaces and addresses");
        assert!(watch.socket.datagrams.is_empty());

        // A list that changes at each attempt is used in the end, and the loop goes on.
        watch.socket.datagrams.push_back(overflow());
        for _ in 0..ATTEMPTS {
            watch.socket.datagrams.push_back(overflow());
            watch.socket.datagrams.extend(lists(old));
        }
        watch.serve(&mut domains).unwrap();
        assert!(has(&domains, old));
        assert!(watch.socket.datagrams.is_empty());

        // A kernel that does not answer costs nothing that was known.
        watch.socket.datagrams.push_back(overflow());
        assert_eq!(watch.serve(&mut domains).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(has(&domains, old));
    }

    #[test]
    fn the_kernels_own_messages_are_read() {
        let mut watch = AddressWatch::open().unwrap();
        // A second list, too: the first was read to its end.
        for _ in 0..2 {
            let (interfaces, _) = watch.list_all().unwrap();
            let loopback = interfaces.addresses("lo");
            assert!(loopback.has_ipv4([127, 0, 0, 1].into()), "{interfaces:?}");
        }
        // The kernel may have reported a change of an interface meanwhile.
        let error = loop {
            if let Err(error) = watch.socket.read(&mut watch.buffer) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}
