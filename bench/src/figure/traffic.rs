// SPDX-License-Identifier: GPL-3.0-or-later
//! Sends requests to the redis guest through noxsd's switch, to Debian's redis-server in a Linux
//! guest created by xl through the kernel's netback, and to the same program over dom0's loopback.
//! Client, backend and server share one CPU.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, absolute};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaos::guests::Host;
use chaos_bench::exec::{LOADER, libraries, run};
use chaos_bench::guest::{Service, nanoseconds};
use chaos_bench::redis;

use crate::args::Args;
use crate::linux_guest;
use crate::samples::Samples;
use crate::used::Used;

const PORT: u16 = 6379;
const PATIENCE: Duration = Duration::from_secs(30);

/// The tests that `redis-benchmark` runs, and the numbers of parallel clients.
const TESTS: [&str; 2] = ["SET", "GET"];
const CLIENTS: [&str; 2] = ["1", "50"];

/// Size of the values in the throughput tests, in bytes.
const BULK: u32 = 65536;

/// The Linux guest's address.
const LINUX: &str = "10.0.0.9";
const REDIS_SERVER: &str = "/usr/local/bin/redis-server";

pub(crate) fn measure(host: &Host, args: &Args, samples: &mut Samples) -> Result<()> {
    let (pings, requests) = if args.quick { (50, 1000) } else { (300, 4000) };
    samples.total(3 * (pings + CLIENTS.len() * 2 + 2 * 4))?;
    let server = Server::start()?;
    all("loopback", "127.0.0.1", pings, requests, host, samples)?;
    drop(server);
    run("chaos", &["create", "--quiet", "redis.cfg"])?;
    all("guest", "10.0.0.2", pings, requests, host, samples)?;
    run("chaos", &["destroy", "redis"])?;
    linux()?;
    all("xl, Linux, netback", LINUX, pings, requests, host, samples)?;
    run("xl", &["destroy", "linux"]).map(drop)
}

/// Creates, with xl, a Linux guest that runs Debian's redis-server, and waits until it answers.
fn linux() -> Result<()> {
    let files = with_libraries()?;
    let files: Vec<_> = files.iter().map(|file| (Path::new(file), Path::new(file))).collect();
    let start = format!("exec {REDIS_SERVER} --save '' --protected-mode no");
    linux_guest::ramdisk(&files, &start, Path::new("/tmp/linux-redis.cpio"))?;
    let text = format!(
        "name='linux'\ntype='pvh'\nkernel='{}'\nramdisk='/tmp/linux-redis.cpio'\nmemory=256\n\
         vcpus=1\ncmdline='console=hvc0 quiet ip={LINUX}/24'\nvif=['bridge=xenbr0']\n",
        absolute("linux")?.display()
    );
    fs::write("/tmp/linux-redis.cfg", text)?;
    linux_guest::boot("linux", "Ready to accept connections", || {
        run("xl", &["create", "-q", "/tmp/linux-redis.cfg"]).map(drop)
    })
}

/// Returns the paths of redis-server, its libraries and the dynamic linker.
fn with_libraries() -> Result<Vec<String>> {
    let mut files = libraries(Path::new(REDIS_SERVER))?;
    files.extend([REDIS_SERVER.to_owned(), LOADER.to_owned()]);
    Ok(files)
}

fn all(
    what: &str,
    address: &str,
    pings: usize,
    requests: u32,
    host: &Host,
    samples: &mut Samples,
) -> Result<()> {
    let address_port = SocketAddr::new(address.parse()?, PORT);
    let mut stream = TcpStream::connect_timeout(&address_port, PATIENCE)?;
    stream.set_nodelay(true)?;
    for number in 1..=pings {
        let started = Instant::now();
        redis::ping(&mut stream).with_context(|| what.to_owned())?;
        samples.time(&format!("{what}: PING to PONG"), number, nanoseconds(started)?)?;
    }
    drop(stream);
    for (test, clients) in TESTS.into_iter().flat_map(|test| CLIENTS.map(|clients| (test, clients)))
    {
        let rate =
            benchmark(what, address, &["-t", test, "-n", &requests.to_string(), "-c", clients])?;
        samples.add(&format!("{what}: {test}, {clients} at once"), 1, rate)?;
    }
    let noxsd = Service::find("noxsd")?;
    let (requests, size) = ((requests / 20).to_string(), BULK.to_string());
    for test in TESTS {
        let begin = Used::now(host, &noxsd)?;
        let rate =
            benchmark(what, address, &["-t", test, "-n", &requests, "-c", "1", "-d", &size])?;
        let shares = begin.until(&Used::now(host, &noxsd)?);
        let what = format!("{what}: {test} of 64 KiB");
        samples.add(&format!("{what}, MiB/s"), 1, rate * f64::from(BULK) / f64::from(1 << 20))?;
        samples.add(&format!("{what}, % of the CPU in the guest"), 1, shares.guests)?;
        samples.add(&format!("{what}, % of the CPU in dom0"), 1, shares.dom0)?;
        samples.add(&format!("{what}, % of the CPU in noxsd"), 1, shares.noxsd)?;
    }
    Ok(())
}

/// Runs redis-benchmark and returns the requests per second that it reports.
fn benchmark(what: &str, address: &str, options: &[&str]) -> Result<f64> {
    let ran = Command::new("redis-benchmark")
        .args(["-h", address, "--csv"])
        .args(options)
        .output()
        .context("cannot run redis-benchmark")?;
    let text = String::from_utf8_lossy(&ran.stdout);
    ensure!(ran.status.success(), "redis-benchmark against {what}: {text}");
    // A header line, then a line with the test, the requests per second, and latencies.
    let rate = text.lines().nth(1).and_then(|line| line.split(',').nth(1));
    let rate = rate.and_then(|rate| rate.trim_matches('"').parse().ok());
    rate.with_context(|| format!("redis-benchmark against {what} printed {text}"))
}

/// A redis-server on loopback.
struct Server(Child);

impl Server {
    fn start() -> Result<Self> {
        let mut child = Command::new("redis-server")
            .args(["--save", "", "--bind", "127.0.0.1", "--daemonize", "no"])
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run redis-server: is the package installed?")?;
        let mut said = Vec::new();
        let mut piece = [0; 512];
        let mut out = child.stdout.take().context("redis-server's output is not piped")?;
        while !String::from_utf8_lossy(&said).contains("Ready to accept connections") {
            let length = out.read(&mut piece)?;
            ensure!(length > 0, "redis-server exited before it was ready");
            said.extend_from_slice(&piece[..length]);
        }
        Ok(Self(child))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Kill it: it has no data that must be kept. If this fails, it has exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
