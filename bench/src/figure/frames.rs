// SPDX-License-Identifier: GPL-3.0-or-later
//! Sends frames from one guest to another: between two netbench guests through noxsd's switch, and
//! between two Linux guests through the kernel's netback and its bridge. Both guests and dom0 share
//! one CPU.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, absolute};

use anyhow::{Context, Result, ensure};
use chaos::guests::Host;
use chaos_bench::exec::{find, run};
use chaos_bench::frames::{self, Counted};
use chaos_bench::guest::Service;
use chaos_bench::{let_xen_scrub, words};

use crate::args::Args;
use crate::linux_guest;
use crate::samples::Samples;
use crate::used::Used;

/// Bytes of the frames, without the check sequence: the least that Ethernet has with it, and nearly
/// the most.
const SIZES: [usize; 2] = [64, 1500];

/// The port of `netload`.
const PORT: u16 = 9;

/// A Linux guest's name, and its addresses.
struct Linux {
    name: &'static str,
    mac: &'static str,
    address: &'static str,
}

const SENDER: Linux = Linux { name: "linux-a", mac: "00:16:3e:00:00:0a", address: "10.0.0.10" };
const RECEIVER: Linux = Linux { name: "linux-b", mac: "00:16:3e:00:00:0b", address: "10.0.0.11" };

pub(crate) fn measure(host: &Host, args: &Args, samples: &mut Samples) -> Result<()> {
    let (rounds, count) = if args.quick { (1, 10_000) } else { (3, 30_000) };
    samples.total(rounds * SIZES.len() * 3 * 5)?;
    for size in SIZES {
        for round in 1..=rounds {
            let_xen_scrub();
            netbench(host, size, count, round, samples).with_context(|| format!("{size} bytes"))?;
        }
    }
    linux(host, rounds, count, samples)
}

/// Measures two netbench guests.
fn netbench(
    host: &Host,
    size: usize,
    count: u64,
    round: usize,
    samples: &mut Samples,
) -> Result<()> {
    let noxsd = Service::find("noxsd")?;
    let used = RefCell::new(Vec::with_capacity(2));
    let look = || {
        used.borrow_mut().push(Used::now(host, &noxsd)?);
        Ok(())
    };
    let counted = frames::from_guest_to_guest(host, size, count, look, look)?;
    add("netbench, noxsd", (size, round), &counted, &used.into_inner(), samples)
}

/// Writes the samples of one run.
fn add(
    who: &str,
    (size, round): (usize, usize),
    counted: &Counted,
    used: &[Used],
    samples: &mut Samples,
) -> Result<()> {
    let name = format!("{who}: {size} bytes");
    samples.add(&name, round, 1e6 / counted.each_ns())?;
    samples.add(&format!("{name}, % lost"), round, counted.lost_percent())?;
    let [begin, end] = used else { return Ok(()) };
    let shares = begin.until(end);
    samples.add(&format!("{name}, % of the CPU in the guests"), round, shares.guests)?;
    samples.add(&format!("{name}, % of the CPU in dom0"), round, shares.dom0)?;
    samples.add(&format!("{name}, % of the CPU in noxsd"), round, shares.noxsd)
}

/// Measures two Linux guests.
fn linux(host: &Host, rounds: usize, count: u64, samples: &mut Samples) -> Result<()> {
    let program = find("netload")?;
    let ramdisk = Path::new("/tmp/linux-net.cpio");
    let files = [(program.as_path(), Path::new("/bin/netload"))];
    linux_guest::ramdisk(&files, "exec /bin/netload", ramdisk)?;
    for Linux { name, mac, address } in [SENDER, RECEIVER] {
        let text = format!(
            "name='{name}'\ntype='pvh'\nstore='xenstore'\nkernel='{}'\nramdisk='{}'\nmemory=256\n\
             cmdline='console=hvc0 quiet ip={address}/24'\nvif=['bridge=xenbr0,mac={mac}']\n",
            absolute("linux")?.display(),
            ramdisk.display()
        );
        let file = format!("/tmp/{name}.cfg");
        fs::write(&file, text)?;
        linux_guest::boot(name, "netload: ready", || {
            run("chaos", &["create", "--quiet", &file]).map(drop)
        })?;
    }
    for socket in ["udp", "packet"] {
        for size in SIZES {
            for round in 1..=rounds {
                let_xen_scrub();
                let (counted, used) = pair(host, socket, size, count)
                    .with_context(|| format!("{size} bytes, {socket} sockets"))?;
                let who = format!("Linux, {socket} sockets, netback");
                add(&who, (size, round), &counted, &used, samples)?;
            }
        }
    }
    for guest in [SENDER, RECEIVER] {
        run("chaos", &["destroy", guest.name])?;
    }
    Ok(())
}

/// Lets one guest send frames to the other until that has counted enough.
fn pair(host: &Host, socket: &str, size: usize, count: u64) -> Result<(Counted, [Used; 2])> {
    let (mut receiver, mut answers) = connect(&RECEIVER)?;
    writeln!(receiver, "receive socket={socket} size={size} count={count} skip=2000")?;
    let mut line = String::new();
    answers.read_line(&mut line)?;
    ensure!(line == "ready\n", "the receiver answers {line:?}");
    let (mut sender, _) = connect(&SENDER)?;
    let noxsd = Service::find("noxsd")?;
    let begin = Used::now(host, &noxsd)?;
    let Linux { mac, address, .. } = RECEIVER;
    writeln!(sender, "send socket={socket} size={size} mac={mac} address={address}")?;
    line.clear();
    answers.read_line(&mut line)?;
    let end = Used::now(host, &noxsd)?;
    drop(sender);
    Ok((Counted::parse(&line)?, [begin, end]))
}

/// Connects to a guest's `netload`.
fn connect(guest: &Linux) -> Result<(TcpStream, BufReader<TcpStream>)> {
    let address = SocketAddr::new(guest.address.parse()?, PORT);
    let stream = TcpStream::connect_timeout(&address, words::PATIENCE)?;
    stream.set_read_timeout(Some(words::PATIENCE))?;
    let answers = BufReader::new(stream.try_clone()?);
    Ok((stream, answers))
}
