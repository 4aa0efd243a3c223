//! Checks that a file is a tap that a bridge can use.
//!
//! The kernel is asked with an ioctl on a structure of its own: the module's one use of `unsafe`.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Flags that must be there, flags that must not: a tap whose frames carry no header.
const WANTED: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI;
const UNWANTED: libc::c_int = libc::IFF_TUN | libc::IFF_VNET_HDR;

/// Why a bridge cannot use a file as its tap.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// It is something else, or a tap without an interface.
    #[error("the kernel knows no interface for it: {0}")]
    NoInterface(io::Error),
    /// Its frames are not plain Ethernet frames.
    #[error(
        "interface {name} has flags {flags:#x}: must be a tap without headers (IFF_TAP | IFF_NO_PI)"
    )]
    Flags {
        /// Its name.
        name: String,
        /// Its flags.
        flags: libc::c_int,
    },
    /// It cannot be made non-blocking.
    #[error("it cannot be made non-blocking: {0}")]
    Blocking(nix::errno::Errno),
}

/// Checks a file, makes it non-blocking and returns the name of its interface.
///
/// # Errors
/// It is not a tap, or a tap with a header before each frame.
pub fn check(file: BorrowedFd<'_>) -> Result<String, TapError> {
    // SAFETY: `ifreq` is plain data of the kernel's, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // SAFETY: TUNGETIFF writes one `ifreq`, which is valid and exclusively ours; on any other file
    // the number is refused with ENOTTY or EBADFD.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNGETIFF, &raw mut request) } == -1 {
        return Err(TapError::NoInterface(io::Error::last_os_error()));
    }
    // SAFETY: TUNGETIFF has filled this member of the union; each of its values is valid.
    let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags }) & 0xffff;
    let name = request.ifr_name.map(libc::c_char::cast_unsigned);
    let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    if flags & WANTED != WANTED || flags & UNWANTED != 0 {
        return Err(TapError::Flags { name, flags });
    }
    let status = fcntl(file, FcntlArg::F_GETFL).map_err(TapError::Blocking)?;
    let status = OFlag::from_bits_retain(status);
    if !status.contains(OFlag::O_NONBLOCK) {
        fcntl(file, FcntlArg::F_SETFL(status | OFlag::O_NONBLOCK)).map_err(TapError::Blocking)?;
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn other_files_are_refused() {
        for path in ["/dev/null", "/proc/self/exe"] {
            let file = File::open(path).unwrap();
            assert!(matches!(check(file.as_fd()), Err(TapError::NoInterface(_))), "{path}");
        }
        let (pipe, _) = nix::unistd::pipe().unwrap();
        assert!(matches!(check(pipe.as_fd()), Err(TapError::NoInterface(_))));
    }
}
