// SPDX-License-Identifier: GPL-3.0-or-later
//! Checks that a file is a tap that a bridge can use.
//!
//! `unsafe`, because the ioctl that asks the kernel fills a C structure with a union.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tap::{TUNGETVNETHDRSZ, VNET_HEADER};

/// Flags that must be set: those of a tap whose frames have a header with their offloads, and no
/// packet information.
const WANTED: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
/// Flags that must not be set.
const UNWANTED: libc::c_int = libc::IFF_TUN;

/// Why a file cannot be a bridge's tap.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The file is not a tap, or a tap without an interface.
    #[error("the file is not a tap with a network interface: {0}")]
    NoInterface(io::Error),
    /// The tap's frames do not have the header that noxsd reads.
    #[error(
        "interface {name} has flags {flags:#x}: must be a tap with offloads (IFF_TAP | IFF_NO_PI | \
         IFF_VNET_HDR)"
    )]
    Flags {
        /// Name of the interface.
        name: String,
        /// Flags of the interface.
        flags: libc::c_int,
    },
    /// The header before each frame has another size.
    #[error("interface {name} has headers of {size} bytes: must be {VNET_HEADER}")]
    HeaderSize {
        /// Name of the interface.
        name: String,
        /// Size of its headers in bytes.
        size: libc::c_int,
    },
    /// The file cannot be set to non-blocking mode.
    #[error("cannot set the tap to non-blocking mode: {0}")]
    Blocking(nix::errno::Errno),
}

/// Checks a file, sets it to non-blocking mode and returns the name of its interface.
///
/// # Errors
/// The file is not a tap, or a tap without the header before each frame.
pub fn check(file: BorrowedFd<'_>) -> Result<String, TapError> {
    // SAFETY: `ifreq` consists of integers, arrays and a union of these and pointers, for all of
    // which zero is a valid value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // SAFETY: the descriptor is open while it is borrowed. TUNGETIFF writes one `ifreq` through the
    // pointer, which is valid and not aliased. A file of another kind refuses the ioctl with ENOTTY
    // or EBADFD.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNGETIFF, &raw mut request) } == -1 {
        return Err(TapError::NoInterface(io::Error::last_os_error()));
    }
    // SAFETY: TUNGETIFF has filled this member of the union, an integer, for which any value is
    // valid.
    let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags }) & 0xffff;
    let name = request.ifr_name.map(libc::c_char::cast_unsigned);
    let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    if flags & WANTED != WANTED || flags & UNWANTED != 0 {
        return Err(TapError::Flags { name, flags });
    }
    let mut size = 0;
    // SAFETY: the descriptor is open while it is borrowed. TUNGETVNETHDRSZ writes one `int` through
    // the pointer, which is valid and not aliased.
    if unsafe { libc::ioctl(file.as_raw_fd(), TUNGETVNETHDRSZ, &raw mut size) } == -1 {
        return Err(TapError::NoInterface(io::Error::last_os_error()));
    }
    if usize::try_from(size) != Ok(VNET_HEADER) {
        return Err(TapError::HeaderSize { name, size });
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
    fn files_that_are_not_taps_are_refused() {
        for path in ["/dev/null", "/proc/self/exe"] {
            let file = File::open(path).unwrap();
            assert!(matches!(check(file.as_fd()), Err(TapError::NoInterface(_))), "{path}");
        }
        let (pipe, _) = nix::unistd::pipe().unwrap();
        assert!(matches!(check(pipe.as_fd()), Err(TapError::NoInterface(_))));
    }
}
