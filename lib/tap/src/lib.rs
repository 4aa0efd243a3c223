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
use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
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

/// The attribute of a bridge's port that says whether multicasts are passed on to it, and a flag of
/// attributes that contain others (`linux/if_link.h`, `linux/netlink.h`; the first one is missing in
/// the libc crate).
const IFLA_BRPORT_MULTICAST_ROUTER: u16 = 25;
const NLA_F_NESTED: u16 = 1 << 15;

/// `NLM_F_REQUEST | NLM_F_ACK`: a request that the kernel acknowledges.
const NETLINK_FLAGS: u16 = 5;
const _: () = assert!(libc::NLM_F_REQUEST | libc::NLM_F_ACK == 5);

/// The family of messages about ports of bridges.
const AF_BRIDGE: u8 = 7;
const _: () = assert!(libc::AF_BRIDGE == 7);

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
    set_offloads(&tap)?;

    // Interface requests work on any socket.
    let socket = File::from(OwnedFd::from(UnixDatagram::unbound()?));
    let mut of_tap = interface("")?;
    of_tap.ifr_name = request.ifr_name;
    let mut request = of_tap;
    ioctl(&socket, libc::SIOCGIFINDEX, &mut request)?;
    // SAFETY: SIOCGIFINDEX has just filled this member of the union.
    let tap_index = unsafe { request.ifr_ifru.ifru_ifindex };

    // A bridge takes the smallest MTU of its ports, so that of the tap must not be smaller.
    let mut request = interface(bridge)?;
    ioctl(&socket, libc::SIOCGIFMTU, &mut request)?;
    request.ifr_name = of_tap.ifr_name;
    ioctl(&socket, libc::SIOCSIFMTU, &mut request)?;

    let mut request = of_tap;
    request.ifr_ifru.ifru_hwaddr = hardware_address(TAP_MAC);
    ioctl(&socket, libc::SIOCSIFHWADDR, &mut request)?;

    let mut request = interface(bridge)?;
    request.ifr_ifru.ifru_ifindex = tap_index;
    ioctl(&socket, SIOCBRADDIF, &mut request)?;
    pass_all_multicasts(tap_index)?;

    let mut request = of_tap;
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

/// Has the bridge pass all multicasts on to its port with this index. A bridge that has heard a query
/// for groups passes a multicast only to ports of members (`multicast_snooping`), also the
/// solicitation of an IPv6 address. Behind this port there is a switch with members of its own.
fn pass_all_multicasts(port: i32) -> io::Result<()> {
    // As `ip link set dev TAP type bridge_slave mcast_router 2` does.
    const PERMANENT: u8 = 2;
    // A header of four bytes, and a byte.
    const LENGTH: u16 = 5;
    // SAFETY: plain integers; the call has no other precondition.
    let socket = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if socket == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above has just opened it, and nothing else owns it.
    let mut socket = File::from(unsafe { OwnedFd::from_raw_fd(socket) });
    let mut message = Vec::with_capacity(44);
    // `struct nlmsghdr`: length, type, flags, sequence number, sender.
    message.extend(44_u32.to_ne_bytes());
    message.extend(libc::RTM_SETLINK.to_ne_bytes());
    message.extend(NETLINK_FLAGS.to_ne_bytes());
    message.extend([0; 8]);
    // `struct ifinfomsg`: family, type, index, flags, change.
    message.extend([AF_BRIDGE, 0, 0, 0]);
    message.extend(port.to_ne_bytes());
    message.extend([0; 8]);
    // IFLA_PROTINFO, with one attribute: IFLA_BRPORT_MULTICAST_ROUTER (`linux/if_link.h`).
    let nested = libc::IFLA_PROTINFO | NLA_F_NESTED;
    for half in [12, nested, LENGTH, IFLA_BRPORT_MULTICAST_ROUTER] {
        message.extend(half.to_ne_bytes());
    }
    message.extend([PERMANENT, 0, 0, 0]);
    socket.write_all(&message)?;
    let mut answer = [0; 64];
    let length = socket.read(&mut answer)?;
    // `struct nlmsgerr` begins with the negative error number.
    match answer[..length].get(16..20).and_then(|error| error.try_into().ok()) {
        Some(error) => match -i32::from_ne_bytes(error) {
            // The latter from a kernel without snooping.
            0 | libc::EOPNOTSUPP => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        },
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
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
