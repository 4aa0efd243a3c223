// SPDX-License-Identifier: GPL-3.0-or-later
//! A job: to send frames, or to count them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use noxs::MacAddr;

use crate::batch::Batch;
use crate::socket::{self, Socket};

/// The port of both ends and of the clients, which RFC 863 assigns to a service that drops what it
/// receives.
pub(crate) const PORT: u16 = 9;

/// The headers of a frame of UDP, and those of Ethernet alone.
const UDP_HEADERS: usize = 42;
const ETHERNET: usize = 14;

/// The type of the frames of packet sockets: one for experiments (IEEE 802), which no protocol of
/// Linux takes.
const ETHERTYPE: u16 = 0x88b5;

/// The length of the shortest frame: the number of the frame follows the headers of UDP, and is at
/// the same place in other frames.
const LEAST: usize = UDP_HEADERS + 8;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) mode: Mode,
    socket: Kind,
    /// Bytes of a frame.
    size: usize,
}

/// Whether to send or to count.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Sends without an end.
    Send { mac: MacAddr, address: Ipv4Addr },
    /// Counts frames, after some that are skipped.
    Receive { skip: u64, count: u64 },
}

/// The kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Udp,
    Packet,
}

impl Kind {
    /// Returns how many bytes of a frame the program neither writes nor reads.
    fn headers(self) -> usize {
        match self {
            Self::Udp => UDP_HEADERS,
            Self::Packet => 0,
        }
    }
}

impl Job {
    /// Parses a line.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let (mut kind, mut size, mut skip, mut count) = (None, 64, 1000, 100_000);
        let (mut mac, mut address) = (None, None);
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let wrong = || format!("{word:?} is not an argument");
            match (key, value) {
                ("socket", "udp") => kind = Some(Kind::Udp),
                ("socket", "packet") => kind = Some(Kind::Packet),
                ("size", _) => size = value.parse().with_context(wrong)?,
                ("skip", _) => skip = value.parse().with_context(wrong)?,
                ("count", _) => count = value.parse().with_context(wrong)?,
                ("mac", _) => mac = Some(hardware_address(value).with_context(wrong)?),
                ("address", _) => address = Some(value.parse().with_context(wrong)?),
                _ => bail!(wrong()),
            }
        }
        ensure!((LEAST..=1514).contains(&size), "size={size}: must be {LEAST} to 1514");
        let mode = match name {
            "send" => Mode::Send {
                mac: mac.context("mac= is missing")?,
                address: address.context("address= is missing")?,
            },
            "receive" => Mode::Receive { skip, count },
            _ => bail!("{name:?} must be send or receive"),
        };
        Ok(Self { mode, socket: kind.context("socket= must be udp or packet")?, size })
    }

    /// Opens the socket of a receiver.
    pub(crate) fn receiver(&self) -> Result<Receiver> {
        let socket = match self.socket {
            Kind::Udp => socket::udp(PORT)?,
            Kind::Packet => socket::packet(ETHERTYPE)?,
        };
        let headers = self.socket.headers();
        Ok(Receiver { socket, batch: Batch::new(self.size - headers), headers })
    }

    /// Opens the socket of a sender.
    pub(crate) fn sender(&self) -> Result<Sender> {
        let Mode::Send { mac, address } = self.mode else { bail!("not a sender") };
        let headers = self.socket.headers();
        let mut batch = Batch::new(self.size - headers);
        let socket = match self.socket {
            Kind::Udp => {
                let socket = socket::udp(PORT)?;
                socket.connect(&SocketAddrV4::new(address, PORT).into())?;
                socket
            }
            Kind::Packet => {
                let socket = socket::packet(ETHERTYPE)?;
                let mut header = [0; ETHERNET];
                header[..6].copy_from_slice(&mac.0);
                header[6..12].copy_from_slice(&socket::hardware_address()?);
                header[12..].copy_from_slice(&ETHERTYPE.to_be_bytes());
                for number in 0..Batch::FRAMES {
                    batch.frame(number)[..ETHERNET].copy_from_slice(&header);
                }
                socket
            }
        };
        Ok(Sender { socket, batch, headers, next: 0 })
    }
}

/// Sends frames.
#[derive(Debug)]
pub(crate) struct Sender {
    socket: Socket,
    batch: Batch,
    headers: usize,
    next: u64,
}

impl Sender {
    /// Sends a batch.
    pub(crate) fn send(&mut self) -> Result<()> {
        for number in 0..Batch::FRAMES {
            let value = self.next + number as u64;
            self.batch.frame(number)[UDP_HEADERS - self.headers..][..8]
                .copy_from_slice(&value.to_be_bytes());
        }
        // Those that were not sent are numbered anew.
        self.next += self.batch.send(&self.socket)? as u64;
        Ok(())
    }
}

/// Counts frames.
#[derive(Debug)]
pub(crate) struct Receiver {
    socket: Socket,
    batch: Batch,
    headers: usize,
}

impl Receiver {
    /// Skips frames, counts others, and returns a line with the result.
    pub(crate) fn count(&mut self, skip: u64, count: u64) -> Result<String> {
        let (mut received, mut newest) = (0, 0);
        let mut begin = None;
        loop {
            let number = self.batch.receive(&self.socket)?;
            received += number as u64;
            if let Some(last) = number.checked_sub(1) {
                let bytes = &self.batch.frame(last)[UDP_HEADERS - self.headers..];
                newest = u64::from_be_bytes(*bytes.first_chunk().context("a short frame")?);
            }
            match begin {
                None if received > skip => begin = Some((received, newest, Instant::now())),
                Some((skipped, oldest, time)) if received - skipped >= count => {
                    let frames = received - skipped;
                    let lost = (newest - oldest).saturating_sub(frames);
                    let nanoseconds = time.elapsed().as_nanos();
                    return Ok(format!("frames={frames} lost={lost} nanoseconds={nanoseconds}\n"));
                }
                _ => {}
            }
        }
    }
}

/// Parses a hardware address such as 00:16:3e:00:00:08.
fn hardware_address(text: &str) -> Option<MacAddr> {
    let mut address = [0; 6];
    let mut parts = text.trim().split(':');
    for byte in &mut address {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(MacAddr(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_job_or_an_error() {
        let job = Job::parse("receive socket=udp count=7").unwrap();
        let mode = Mode::Receive { skip: 1000, count: 7 };
        assert_eq!(job, Job { mode, socket: Kind::Udp, size: 64 });
        let job = Job::parse("send socket=packet size=1500 mac=0:16:3e:0:0:8 address=10.0.0.8\n");
        let mode = Mode::Send {
            mac: MacAddr([0, 0x16, 0x3e, 0, 0, 8]),
            address: Ipv4Addr::new(10, 0, 0, 8),
        };
        assert_eq!(job.unwrap(), Job { mode, socket: Kind::Packet, size: 1500 });
        for line in [
            "",
            "receive",
            "receive socket=tcp",
            "receive socket=udp size=49",
            "send socket=udp mac=0:16:3e:0:0:8",
            "send socket=udp address=10.0.0.8",
            "send socket=udp mac=0:16:3e:0:0 address=10.0.0.8",
        ] {
            assert!(Job::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_receiver_counts_what_a_sender_sends() {
        let udp = |port| std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let (from, to) = (udp(0), udp(0));
        from.connect(to.local_addr().unwrap()).unwrap();
        let batch = || Batch::new(LEAST - UDP_HEADERS);
        let headers = UDP_HEADERS;
        let mut sender = Sender { socket: from.into(), batch: batch(), headers, next: 0 };
        let mut receiver = Receiver { socket: to.into(), batch: batch(), headers };
        for _ in 0..2 {
            sender.send().unwrap();
        }
        let line = receiver.count(10, 60).unwrap();
        assert!(line.starts_with("frames=64 lost=0 nanoseconds="), "{line}");
    }
}
