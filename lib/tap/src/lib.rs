// SPDX-License-Identifier: MIT OR Apache-2.0
//! Opens the tap through which a noxs switch reaches a Linux bridge.
//!
//! Opening needs root. `noxsd` does it at start, before it drops its privileges; for a bridge that
//! is added later, the client does it and passes the tap on. A running `noxsd` only reads and
//! writes the tap.
//!
//! `unsafe` is allowed in the whole crate: it is small and consists of system calls on kernel
//! structures.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;

/// What the name of each tap begins with.
pub const NAME_PREFIX: &str = "noxs";

/// The template of a tap's name; the kernel replaces `%d` by the first free number.
const TAP_NAME: &str = "noxs%d";

/// `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`: a tap whose frames have a [header](VNET_HEADER) with
/// their offloads, and no packet information. The flags are 16 bits in the kernel's structure, but
/// 32 bits in the libc crate's constants.
const TAP_FLAGS: libc::c_short = 0x5002;
const _: () = assert!(libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR == 0x5002);

/// Size of the header before each frame, in bytes: `struct virtio_net_hdr` (`linux/virtio_net.h`),
/// which the kernel uses unless it is asked for another one.
pub const VNET_HEADER: usize = 10;

/// `TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6` (`linux/if_tun.h`; missing in the libc crate): frames from
/// the kernel may lack the checksum of TCP or UDP, and packets of TCP may be up to 64 KiB long.
const OFFLOADS: libc::c_ulong = 1 | 2 | 4;

/// The request that sets [`OFFLOADS`]: `_IOW('T', 208, unsigned int)`.
const TUNSETOFFLOAD: libc::Ioctl = 0x4004_54d0;

/// The request that returns the size of the header before each frame: `_IOR('T', 215, int)`.
pub const TUNGETVNETHDRSZ: libc::Ioctl = 0x8004_54d7;

/// `IFF_UP`: the interface is up.
const UP: libc::c_short = 1;
const _: () = assert!(libc::IFF_UP == 1);

/// `IFF_NOARP`: Linux resolves no addresses on the interface.
const NOARP: libc::c_short = 0x80;
const _: () = assert!(libc::IFF_NOARP == 0x80);

/// `IFF_MULTICAST`: Linux sends multicasts of its own on the interface.
const MULTICAST: libc::c_short = 0x1000;
const _: () = assert!(libc::IFF_MULTICAST == 0x1000);

/// The tap's own MAC address: that of netback's vifs, too (`xen-netback/interface.c`). A bridge
/// without a fixed MAC address takes the lowest of its ports. So it does not change when `noxsd` is
/// restarted: guests would send to the former address until dom0 sends them something.
const TAP_MAC: [u8; 6] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff];

/// The request that adds an interface to a bridge (`linux/sockios.h`; missing in the libc crate).
const SIOCBRADDIF: libc::Ioctl = 0x89a2;

/// Creates a tap with the MTU of the bridge, adds it to the bridge and brings it up. The kernel
/// removes the tap when the last copy of the file descriptor is closed.
///
/// Each read or write transfers one whole frame after a [header](VNET_HEADER), and never blocks.
///
/// # Errors
/// The caller is not root, the `tun` module is missing, the bridge does not exist, or its name is
/// longer than Linux allows (15 bytes).
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
    set_offloads(&tap)?;

    // Interface requests work on any socket.
    let socket = File::from(OwnedFd::from(UnixDatagram::unbound()?));
    let mut request = interface("")?;
    request.ifr_name = tap_name;
    ioctl(&socket, libc::SIOCGIFINDEX, &mut request)?;
    // SAFETY: SIOCGIFINDEX has just filled this member of the union.
    let tap_index = unsafe { request.ifr_ifru.ifru_ifindex };

    // A bridge takes the smallest MTU of its ports, so that of the tap must not be smaller.
    let mut request = interface(bridge)?;
    ioctl(&socket, libc::SIOCGIFMTU, &mut request)?;
    request.ifr_name = tap_name;
    ioctl(&socket, libc::SIOCSIFMTU, &mut request)?;

    let mut request = interface("")?;
    request.ifr_name = tap_name;
    request.ifr_ifru.ifru_hwaddr = hardware_address(TAP_MAC);
    ioctl(&socket, libc::SIOCSIFHWADDR, &mut request)?;

    let mut request = interface(bridge)?;
    request.ifr_ifru.ifru_ifindex = tap_index;
    ioctl(&socket, SIOCBRADDIF, &mut request)?;

    let mut request = interface("")?;
    request.ifr_name = tap_name;
    ioctl(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS has just filled this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    // dom0 has its addresses on the bridge. On the tap it must say nothing of its own, such as
    // router solicitations, which would reach all guests.
    request.ifr_ifru.ifru_flags = flags & !MULTICAST | UP | NOARP;
    ioctl(&socket, libc::SIOCSIFFLAGS, &mut request)?;
    Ok(tap.into())
}

/// Returns a request that names the interface `name` and is otherwise zero.
fn interface(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is a plain C structure of integers, arrays and a union of these and pointers,
    // for all of which zero is a valid value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.len() >= request.ifr_name.len() || name.contains('\0') {
        let message = format!(
            "{name:?} is not a network interface name: must be at most 15 bytes, without NUL"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte.cast_signed();
    }
    Ok(request)
}

/// Returns a MAC address in the kernel's structure.
fn hardware_address(mac: [u8; 6]) -> libc::sockaddr {
    let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
    for (slot, byte) in address.sa_data.iter_mut().zip(mac) {
        *slot = byte.cast_signed();
    }
    address
}

/// Lets the kernel pass on frames whose checksums and segmentation are left to do.
fn set_offloads(tap: &File) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes flags instead of a pointer.
    match unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETOFFLOAD, OFFLOADS) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn ioctl(file: &File, number: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: all requests of this module (TUNSETIFF, SIOCGIFINDEX, SIOCGIFMTU, SIOCSIFMTU,
    // SIOCSIFHWADDR, SIOCBRADDIF, SIOCGIFFLAGS, SIOCSIFFLAGS) take a pointer to one `ifreq`, and
    // `request` is a valid, exclusive reference to one.
    match unsafe { libc::ioctl(file.as_raw_fd(), number, std::ptr::from_mut(request)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_interface_name_is_refused() {
        for wrong in ["a-name-of-16-byte", "nul\0"] {
            let error = interface(wrong).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{wrong}");
        }
        assert!(interface("fifteen-bytes-1").is_ok());
    }
}
