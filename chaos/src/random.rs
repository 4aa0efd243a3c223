//! Random numbers, from the kernel with one system call.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// Fills bytes with random ones.
///
/// # Errors
/// The kernel has none.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
