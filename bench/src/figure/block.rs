// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads and writes a disk: the guest blkbench through noxsd, and a Linux guest that does the same
//! through the kernel's blkback and its loop device, on the same file. Guest, backend and dom0 share
//! one CPU.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, absolute};

use anyhow::{Context, Result, ensure};
use chaos::guests::{self, CreateOptions, Host};
use chaos::timings::Timings;
use chaos_bench::exec::{find, run};
use chaos_bench::guest::{Service, config};
use chaos_bench::{let_xen_scrub, words};

use crate::args::Args;
use crate::linux_guest;
use crate::samples::Samples;
use crate::used::Used;

/// The disk, in dom0's memory like all of its files.
const DISK: &str = "/tmp/disk.img";
const DISK_SIZE: u64 = 64 << 20;

/// The Linux guest's address.
const LINUX: &str = "10.0.0.9";
/// The port of `diskload`.
const PORT: u16 = 9;

/// What a guest does: its name in the samples, and the arguments of `blkbench` and `diskload`.
struct Case {
    name: &'static str,
    arguments: &'static str,
    /// Operations; ten times fewer with `--quick`.
    count: u32,
}

const fn case(name: &'static str, arguments: &'static str, count: u32) -> Case {
    Case { name, arguments, count }
}

const CASES: [Case; 6] = [
    case("4 KiB random reads, 1 at once", "randread bs=4096 qd=1", 5000),
    case("4 KiB random writes, 1 at once", "randwrite bs=4096 qd=1", 5000),
    case("4 KiB random reads, 32 at once", "randread bs=4096 qd=32", 20000),
    case("4 KiB random writes, 32 at once", "randwrite bs=4096 qd=32", 20000),
    case("1 MiB sequential reads", "read bs=1048576 qd=1", 500),
    case("1 MiB sequential writes", "write bs=1048576 qd=1", 500),
];

pub(crate) fn measure(host: &Host, args: &Args, samples: &mut Samples) -> Result<()> {
    let rounds = if args.quick { 1 } else { 3 };
    samples.total(2 * CASES.len() * rounds * 3)?;
    // All of it is allocated, so that no write has to. The Linux guest's init prints the first line.
    fs::write(DISK, vec![b'\n'; usize::try_from(DISK_SIZE)?])?;
    for case in &CASES {
        for round in 1..=rounds {
            blkbench(host, case, args, round, samples).with_context(|| case.name)?;
        }
    }
    linux(host, args, rounds, samples)?;
    Ok(fs::remove_file(DISK)?)
}

impl Case {
    fn count(&self, args: &Args) -> u32 {
        if args.quick { self.count / 10 } else { self.count }
    }

    fn line(&self, args: &Args) -> String {
        format!("{} count={}", self.arguments, self.count(args))
    }

    /// Writes the samples of one run that a guest has timed.
    fn add(
        &self,
        who: &str,
        (args, round): (&Args, usize),
        ns: u64,
        (begin, end): (&Used, &Used),
        samples: &mut Samples,
    ) -> Result<()> {
        #[allow(clippy::cast_precision_loss)]
        let each = ns as f64 / f64::from(self.count(args)) / 1e3;
        samples.add(&format!("{who}: {}", self.name), round, each)?;
        let shares = begin.until(end);
        samples.add(&format!("{who}: {}, % in the guest", self.name), round, shares.guests)?;
        samples.add(&format!("{who}: {}, % in dom0", self.name), round, shares.dom0)
    }
}

/// Runs one case in a blkbench guest.
fn blkbench(
    host: &Host,
    case: &Case,
    args: &Args,
    round: usize,
    samples: &mut Samples,
) -> Result<()> {
    let disk = format!("disk=['{DISK},raw,xvda,w']");
    let line = format!("cmdline='{}'", case.line(args));
    let config = config("blkbench.cfg", &[&disk, &line, "memory=16"])?;
    let_xen_scrub();
    let options = CreateOptions { paused: true, console: true, ..CreateOptions::default() };
    let mut created = guests::create(host, &config, options, &mut Timings::start())?;
    let mut console = File::from(created.console.take().context("the guest has a console")?);
    let noxsd = Service::find("noxsd")?;
    let begin = Used::now(host, &noxsd)?;
    host.xen.unpause(created.domid)?;
    let said = words::wait_for(&mut console, "nanoseconds=")?;
    let said = match said.ends_with('\n') {
        true => said,
        false => said + &words::wait_for(&mut console, "\n")?,
    };
    let end = Used::now(host, &noxsd)?;
    ensure!(said.contains("errors=0"), "blkbench says {said:?}");
    let ns = number_behind("nanoseconds=", &said)?;
    case.add("blkbench, noxsd", (args, round), ns, (&begin, &end), samples)?;
    drop((console, created));
    guests::destroy(host, &config.name)?;
    Ok(())
}

/// Runs all cases in a Linux guest.
fn linux(host: &Host, args: &Args, rounds: usize, samples: &mut Samples) -> Result<()> {
    let program = find("diskload")?;
    let ramdisk = Path::new("/tmp/linux-disk.cpio");
    let files = [(program.as_path(), Path::new("/bin/diskload"))];
    linux_guest::ramdisk(&files, "exec /bin/diskload /dev/xvda", ramdisk)?;
    let text = format!(
        "name='linux'\ntype='pvh'\nstore='xenstore'\nkernel='{}'\nramdisk='{}'\nmemory=256\n\
         cmdline='console=hvc0 quiet ip={LINUX}/24'\nvif=['bridge=xenbr0']\n\
         disk=['{DISK},raw,xvda,w']\n",
        absolute("linux")?.display(),
        ramdisk.display()
    );
    fs::write("/tmp/linux-disk.cfg", text)?;
    linux_guest::boot("linux", "diskload: ready", || {
        run("chaos", &["create", "--quiet", "/tmp/linux-disk.cfg"]).map(drop)
    })?;
    let address = SocketAddr::new(LINUX.parse()?, PORT);
    let mut stream = TcpStream::connect_timeout(&address, words::PATIENCE)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let noxsd = Service::find("noxsd")?;
    for case in &CASES {
        for round in 1..=rounds {
            let_xen_scrub();
            let begin = Used::now(host, &noxsd)?;
            writeln!(stream, "{}", case.line(args))?;
            let mut answer = String::new();
            answers.read_line(&mut answer)?;
            let end = Used::now(host, &noxsd)?;
            let ns = number_behind("nanoseconds=", &answer)?;
            case.add("Linux, blkback", (args, round), ns, (&begin, &end), samples)?;
        }
    }
    run("chaos", &["destroy", "linux"]).map(drop)
}

/// Returns the number behind a word.
fn number_behind(word: &str, text: &str) -> Result<u64> {
    let behind = text.split_once(word).map(|(_, behind)| behind);
    let digits = behind.and_then(|behind| behind.split(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).with_context(|| format!("no number in {text:?}"))
}
