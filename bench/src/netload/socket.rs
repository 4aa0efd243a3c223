// SPDX-License-Identifier: GPL-3.0-or-later
//! Sockets that frames are sent and received through.
//!
//! `unsafe`: no crate that this one uses has an address of a packet socket that it can create.
#![allow(unsafe_code)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc::{AF_PACKET, c_int, sockaddr_ll, socklen_t};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use socket2::{Domain, Protocol, Type};

/// A socket.
pub(crate) type Socket = socket2::Socket;

/// Bytes of frames that may wait for the program, with what Linux adds to each. With the default,
/// which is 277 short frames, a third of them is dropped here.
const BUFFER: usize = 8 << 20;

/// The guest's interface.
const INTERFACE: &str = "eth0";

/// Opens a socket of UDP.
pub(crate) fn udp(port: u16) -> Result<Socket> {
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    let socket = Socket::from(socket);
    setsockopt(&socket, RcvBufForce, &BUFFER).context("cannot have a large buffer")?;
    Ok(socket)
}

/// Opens a packet socket for frames of a type.
pub(crate) fn packet(ethertype: u16) -> Result<Socket> {
    let protocol = ethertype.to_be();
    let socket =
        Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(c_int::from(protocol))))
            .context("cannot open a packet socket")?;
    setsockopt(&socket, RcvBufForce, &BUFFER).context("cannot have a large buffer")?;
    let family = u16::try_from(AF_PACKET)?;
    let index = if_nametoindex(INTERFACE).context("there is no eth0")?.cast_signed();
    let address = sockaddr_ll {
        sll_family: family,
        sll_protocol: protocol,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = socklen_t::try_from(size_of::<sockaddr_ll>())?;
    // SAFETY: bind reads `length` bytes of an address; `address` has that size and is initialized.
    let bound = unsafe { nix::libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    Errno::result(bound).context("cannot bind a packet socket")?;
    Ok(socket)
}

/// Returns the hardware address of the guest's interface.
pub(crate) fn hardware_address() -> Result<[u8; 6]> {
    let text = fs::read_to_string(format!("/sys/class/net/{INTERFACE}/address"))?;
    let mut address = [0; 6];
    for (byte, part) in address.iter_mut().zip(text.trim().split(':')) {
        *byte = u8::from_str_radix(part, 16)?;
    }
    Ok(address)
}
