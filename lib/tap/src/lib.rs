//! Opens the tap through which a noxs switch reaches a Linux bridge.
//!
//! Both who starts `noxsd` and who adds a bridge to a running one need this while they are root;
//! `noxsd` itself only reads and writes the tap.
//!
//! The crate is small and all of it is system calls on structures of the kernel, so it may use
//! `unsafe` as a whole.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;

/// Template of the taps' names; the kernel puts the first free number.
const TAP_NAME: &str = "noxs%d";

/// A tap whose frames carry no header. The kernel's structure has 16 bits for the flags, the libc
/// crate's constants have 32.
const TAP_FLAGS: libc::c_short = 0x1002;
const _: () = assert!(libc::IFF_TAP | libc::IFF_NO_PI == 0x1002);

/// The interface is up.
const UP: libc::c_short = 1;
const _: () = assert!(libc::IFF_UP == 1);

/// Puts an interface on a bridge (`linux/sockios.h`; the libc crate does not have it).
const SIOCBRADDIF: libc::Ioctl = 0x89a2;

/// Opens a new tap, puts it on the bridge and brings it up. The tap goes away when the last copy
/// of the file descriptor is closed.
///
/// Frames are read and written whole, without a header, and never block.
///
/// # Errors
/// The user is not root, the `tun` module is missing, the bridge does not exist, or its name is
/// too long for Linux (15 bytes).
pub fn open_on_bridge(bridge: &str) -> io::Result<OwnedFd> {
    let tap = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")?;
    let mut request = interface(TAP_NAME)?;
    request.ifr_ifru.ifru_flags = TAP_FLAGS;
    ioctl(&tap, libc::TUNSETIFF, &mut request)?;
    let tap_name = request.ifr_name;

    // Any socket serves for interface requests.
    let socket = File::from(OwnedFd::from(UnixDatagram::unbound()?));
    let mut request = interface("")?;
    request.ifr_name = tap_name;
    ioctl(&socket, libc::SIOCGIFINDEX, &mut request)?;
    // SAFETY: SIOCGIFINDEX has just filled this member of the union.
    let tap_index = unsafe { request.ifr_ifru.ifru_ifindex };

    let mut request = interface(bridge)?;
    request.ifr_ifru.ifru_ifindex = tap_index;
    ioctl(&socket, SIOCBRADDIF, &mut request)?;

    let mut request = interface("")?;
    request.ifr_name = tap_name;
    ioctl(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS has just filled this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | UP;
    ioctl(&socket, libc::SIOCSIFFLAGS, &mut request)?;
    Ok(tap.into())
}

/// A request about the interface with the name.
fn interface(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is plain data of the kernel's, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.len() >= request.ifr_name.len() || name.contains('\0') {
        let message = format!("{name:?} is no name of a network interface");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte.cast_signed();
    }
    Ok(request)
}

fn ioctl(file: &File, number: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: all requests of this module (TUNSETIFF, SIOCGIFINDEX, SIOCBRADDIF, SIOCGIFFLAGS,
    // SIOCSIFFLAGS) take a pointer to one `ifreq`, which is valid and exclusively ours.
    match unsafe { libc::ioctl(file.as_raw_fd(), number, std::ptr::from_mut(request)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_interfaces_is_refused() {
        for wrong in ["a-name-of-16-byte", "nul\0"] {
            let error = interface(wrong).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{wrong}");
        }
        assert!(interface("fifteen-bytes-1").is_ok());
    }
}
