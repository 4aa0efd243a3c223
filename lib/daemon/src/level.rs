// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waits for descriptors by level: the poll reports a descriptor as long as it is ready.
//!
//! mio waits by edge: a reader has to read until nothing is left, so each event costs one more
//! system call that only returns `EAGAIN`. By level, the next poll, which the loop makes anyway,
//! gives that answer. mio has no option for it, but a source decides itself how it is registered.
//!
//! `unsafe`: the system call that registers it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use mio::event::Source;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;

/// A descriptor to wait for by level. Its owner keeps it open as long as it is registered.
#[derive(Debug)]
pub struct Level(pub RawFd);

impl Source for Level {
    fn register(&mut self, poll: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.control(poll, libc::EPOLL_CTL_ADD, Some((token, Some(interest))))
    }

    fn reregister(&mut self, poll: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.control(poll, libc::EPOLL_CTL_MOD, Some((token, Some(interest))))
    }

    fn deregister(&mut self, poll: &Registry) -> io::Result<()> {
        self.control(poll, libc::EPOLL_CTL_DEL, None)
    }
}

impl Level {
    /// Makes the poll report only that the other end has closed the connection, or that it failed;
    /// the kernel always reports these. The descriptor is registered.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn only_end(&self, poll: &Registry, token: Token) -> io::Result<()> {
        self.control(poll, libc::EPOLL_CTL_MOD, Some((token, None)))
    }

    fn control(
        &self,
        poll: &Registry,
        operation: libc::c_int,
        wait: Option<(Token, Option<Interest>)>,
    ) -> io::Result<()> {
        let flag = |wanted: bool, flag: libc::c_int| if wanted { flag.cast_unsigned() } else { 0 };
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        if let Some((token, interest)) = wait {
            let wants = |what: fn(Interest) -> bool| interest.is_some_and(what);
            event.events = flag(wants(Interest::is_readable), libc::EPOLLIN)
                | flag(wants(Interest::is_writable), libc::EPOLLOUT);
            // mio reads an event's token from here, which it does not promise: the test below fails
            // if a version of mio changes that.
            event.u64 = token.0 as u64;
        }
        // SAFETY: the call needs a pointer to an `epoll_event` that is valid until it returns, and
        // `event` lives in this frame. The kernel checks that both descriptors are open and of the
        // right kind.
        let result =
            unsafe { libc::epoll_ctl(poll.as_raw_fd(), operation, self.0, &raw mut event) };
        Errno::result(result)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;

    #[test]
    fn a_descriptor_is_reported_until_it_is_read_and_only_while_it_is_registered() {
        let mut poll = Poll::new().unwrap();
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let mut level = Level(here.as_raw_fd());
        let token = Token(1 << 40 | 7);
        let seen = |poll: &mut Poll| {
            let mut events = Events::with_capacity(4);
            poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            events
                .iter()
                .map(|event| (event.token(), event.is_readable(), event.is_writable()))
                .collect::<Vec<_>>()
        };
        poll.registry().register(&mut level, token, Interest::READABLE).unwrap();
        assert_eq!(seen(&mut poll), []);
        there.write_all(b"ab").unwrap();
        for _ in 0..2 {
            assert_eq!(seen(&mut poll), [(token, true, false)]);
            here.read_exact(&mut [0]).unwrap();
        }
        assert_eq!(seen(&mut poll), []);
        poll.registry().reregister(&mut level, token, Interest::WRITABLE).unwrap();
        there.write_all(b"c").unwrap();
        assert_eq!(seen(&mut poll), [(token, false, true)]);
        poll.registry().deregister(&mut level).unwrap();
        assert_eq!(seen(&mut poll), []);
    }
}
