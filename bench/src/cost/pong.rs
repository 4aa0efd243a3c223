//! From exec of `chaos create` to the first PONG that a waiting client gets.
//!
//! A client that connects before the guest is there waits for TCP's own retries, of a second or
//! more. This one waits for the guest to announce its address (a gratuitous ARP, which every guest
//! with an address sends when its network is up) and connects then.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaos::lifecycle::{self, Host};
use chaos_bench::let_xen_scrub;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::report::Report;

const ADDRESS: [u8; 4] = [10, 0, 0, 2];
const PATIENCE: Duration = Duration::from_secs(30);

/// `ETH_P_ARP` (linux/if_ether.h).
const ETHERTYPE_ARP: u16 = 0x0806;

/// Where an Ethernet frame with an ARP packet has the sender's IPv4 address (RFC 826).
const SENDER_ADDRESS: usize = 28;

pub(crate) fn measure(host: &Host, rounds: usize, report: &mut Report) -> Result<()> {
    let mut to_announcement = Vec::new();
    let mut to_pong = Vec::new();
    for _ in 0..rounds {
        let_xen_scrub();
        let announcements = arp_socket()?;
        let started = Instant::now();
        let mut create = Command::new("chaos")
            .args(["create", "--quiet", "redis.cfg"])
            .stdin(Stdio::null())
            .spawn()
            .context("cannot run chaos")?;
        wait_for_announcement(&announcements, started + PATIENCE)?;
        to_announcement.push(u64::try_from(started.elapsed().as_nanos())?);
        let mut stream = TcpStream::connect((std::net::Ipv4Addr::from(ADDRESS), 6379))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        to_pong.push(u64::try_from(started.elapsed().as_nanos())?);
        ensure!(&answer == b"+PONG\r\n", "the guest answered {answer:?}");
        ensure!(create.wait()?.success(), "chaos create failed");
        drop(stream);
        lifecycle::destroy(host, "redis")?;
    }
    report.times("exec of chaos create to the guest's announcement", None, &to_announcement);
    report.times("exec of chaos create to the first PONG", None, &to_pong);
    Ok(())
}

/// Hears all ARP packets of dom0.
fn arp_socket() -> Result<Socket> {
    let protocol = Protocol::from(i32::from(ETHERTYPE_ARP.to_be()));
    Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).context("cannot open a packet socket")
}

fn wait_for_announcement(socket: &Socket, deadline: Instant) -> Result<()> {
    let mut socket_reader = socket;
    let mut frame = [0; 128];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "the guest has not announced itself");
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], timeout)? == 0 {
            continue;
        }
        let length = socket_reader.read(&mut frame)?;
        if frame[..length].get(SENDER_ADDRESS..SENDER_ADDRESS + 4) == Some(&ADDRESS[..]) {
            return Ok(());
        }
    }
}
