//! Requests to the redis guest through noxsd's switch, and to Debian's redis-server over dom0's
//! loopback. One CPU does the client's, the switch's and the server's work.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaos_bench::exec::run;
use chaos_bench::guest::nanoseconds;

use crate::Args;
use crate::samples::Samples;

const PORT: u16 = 6379;
const PATIENCE: Duration = Duration::from_secs(30);

/// What `redis-benchmark` is told to ask for, and how many clients do.
const TESTS: &str = "set,get";
const CLIENTS: [&str; 2] = ["1", "50"];

pub(crate) fn measure(args: &Args, samples: &mut Samples) -> Result<()> {
    let (pings, requests) = if args.quick { (50, "1000") } else { (1000, "20000") };
    samples.total(2 * (pings + CLIENTS.len() * 2))?;
    let server = Server::start()?;
    all("loopback", "127.0.0.1", pings, requests, samples)?;
    drop(server);
    run("chaos", &["create", "--quiet", "redis.cfg"])?;
    all("guest", "10.0.0.2", pings, requests, samples)?;
    run("chaos", &["destroy", "redis"]).map(drop)
}

fn all(
    what: &str,
    address: &str,
    pings: usize,
    requests: &str,
    samples: &mut Samples,
) -> Result<()> {
    let address_port = SocketAddr::new(address.parse()?, PORT);
    let mut stream = TcpStream::connect_timeout(&address_port, PATIENCE)?;
    stream.set_nodelay(true)?;
    for number in 1..=pings {
        let started = Instant::now();
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        samples.time(&format!("{what}: PING to PONG"), number, nanoseconds(started)?)?;
        ensure!(&answer == b"+PONG\r\n", "{what} answered {answer:?}");
    }
    drop(stream);
    for clients in CLIENTS {
        let ran = Command::new("redis-benchmark")
            .args(["-h", address, "-n", requests, "-c", clients, "-t", TESTS, "--csv"])
            .output()
            .context("cannot run redis-benchmark")?;
        let text = String::from_utf8_lossy(&ran.stdout);
        ensure!(ran.status.success(), "redis-benchmark against {what}: {text}");
        for line in text.lines().skip(1) {
            // "test","requests per second", and times.
            let mut words = line.split(',').map(|word| word.trim_matches('"'));
            let (test, rate) = (words.next(), words.next());
            let rate = rate.and_then(|rate| rate.parse().ok());
            let (test, rate) = test.zip(rate).with_context(|| format!("unclear: {line}"))?;
            samples.add(&format!("{what}: {test}, {clients} at once"), 1, rate)?;
        }
    }
    Ok(())
}

/// A redis-server on loopback.
struct Server(Child);

impl Server {
    fn start() -> Result<Self> {
        let mut child = Command::new("redis-server")
            .args(["--save", "", "--bind", "127.0.0.1", "--daemonize", "no"])
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run redis-server: is the package there?")?;
        let mut said = Vec::new();
        let mut piece = [0; 512];
        let mut out = child.stdout.take().context("it has a standard output")?;
        while !String::from_utf8_lossy(&said).contains("Ready to accept connections") {
            let length = out.read(&mut piece)?;
            ensure!(length > 0, "redis-server has ended");
            said.extend_from_slice(&piece[..length]);
        }
        Ok(Self(child))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It holds nothing that would have to be kept.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
