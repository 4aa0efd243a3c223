//! Xen's devices in `/dev/xen`: opening them and making their ioctls.
//!
//! `unsafe`: an ioctl takes a pointer whose meaning only its number tells.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;

use crate::error::Error;

/// Opens a device for reading and writing.
pub(crate) fn open(
    path: &'static str,
    module: &'static str,
    extra_flags: i32,
) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC | extra_flags)
        .open(path)
        .map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
            Error::opening(path, module, errno)
        })
}

/// Makes an ioctl and returns its result, which is not negative.
///
/// # Safety
/// `argument` must be what the ioctl `number` of this device takes: valid for reads and writes of
/// its structure, with pointers inside that are valid for what the kernel does with them.
pub(crate) unsafe fn ioctl<T>(file: &File, number: u64, argument: *mut T) -> Result<i32, Errno> {
    // SAFETY: the file is open; the caller answers for number and argument.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), number, argument) };
    Errno::result(result)
}
