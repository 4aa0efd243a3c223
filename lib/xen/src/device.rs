// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opens the devices in `/dev/xen` and makes their ioctls.
//!
//! `unsafe`: an ioctl takes a pointer whose type depends on the ioctl's number.
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
/// `argument` points to the structure that ioctl `number` of this device takes, or is ignored by
/// it. It is valid for reads and writes, and so is all memory that the kernel reaches through
/// addresses in the structure, until the call returns.
pub(crate) unsafe fn ioctl<T>(file: &File, number: u64, argument: *mut T) -> Result<i32, Errno> {
    // SAFETY: the descriptor is open, because `file` is borrowed. `argument` is valid for this
    // ioctl by this function's own contract.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), number, argument) };
    Errno::result(result)
}
