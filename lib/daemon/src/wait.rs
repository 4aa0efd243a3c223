// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waits for descriptors until a deadline.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits until a descriptor can be read, or has ended or failed, which a read then shows. Returns
/// `false` if the deadline came first.
///
/// # Errors
/// The kernel refuses to wait.
pub fn readable(fd: BorrowedFd<'_>, deadline: Instant) -> Result<bool, Errno> {
    until(&mut [PollFd::new(fd, PollFlags::POLLIN)], deadline)
}

/// Waits until one of several descriptors can be read. Returns `false` if the deadline came first.
///
/// # Errors
/// The kernel refuses to wait.
pub fn any_readable(fds: &[BorrowedFd<'_>], deadline: Instant) -> Result<bool, Errno> {
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    until(&mut fds, deadline)
}

fn until(fds: &mut [PollFd<'_>], deadline: Instant) -> Result<bool, Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Round up, so that the last wait does not end just before the deadline. A deadline beyond
        // the longest possible wait takes several.
        let timeout = left.as_millis() + u128::from(!left.is_zero());
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(fds, timeout) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn waiting_ends_at_the_deadline_and_not_before() {
        let (here, _there) = UnixStream::pair().unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(readable(here.as_fd(), deadline), Ok(false));
        assert!(Instant::now() >= deadline);
        assert_eq!(any_readable(&[here.as_fd()], deadline), Ok(false), "it has passed already");
    }

    #[test]
    fn data_and_the_end_of_a_connection_are_reported_even_after_the_deadline() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let (other, _silent) = UnixStream::pair().unwrap();
        there.write_all(b"x").unwrap();
        assert_eq!(readable(here.as_fd(), Instant::now()), Ok(true));
        assert_eq!(any_readable(&[other.as_fd(), here.as_fd()], Instant::now()), Ok(true));
        drop(there);
        assert_eq!(readable(here.as_fd(), Instant::now()), Ok(true));
    }
}
