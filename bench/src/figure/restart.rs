// SPDX-License-Identifier: GPL-3.0-or-later
//! Kills `noxsd` while guests run, and measures how long they are without their backend.
//!
//! The clock starts before the `SIGKILL`. `noxsd` is started again at once, with the same arguments;
//! a service manager takes time of its own. Each number of guests is measured twice: while they are
//! idle, and under load ([`crate::restart_load`]).

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chaos::guests::Host;
use chaos_bench::chaosd::Daemon;
use chaos_bench::exec::run;
use chaos_bench::guest::{Service, nanoseconds};
use chaos_bench::redis;
use chaos_bench::words::PATIENCE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::args::Args;
use crate::restart_load::Load;
use crate::samples::Samples;
use crate::side_by_side::{SHELLS, alive, daytime, destroy, from_pool};

const FLAVOUR: &str = "memory='4M'\nbridges=['xenbr0']";

const LOG: &str = "/tmp/noxsd-restarted.log";

/// The redis guest's address from redis.cfg.
const REDIS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 6379);

/// Kills for each number of guests.
const ROUNDS: usize = 10;

const GONE: &str = "until the old noxsd is gone";
const STARTED: &str = "until the new one has opened what needs root";
const SERVED: &str = "until it serves all guests";
const ANSWERED: &str = "until a PING sent at the kill is answered";
const LOADED_SERVED: &str = "under load: until it serves all guests";
const LOADED_PAUSE: &str = "under load: longest wait for the answer to a SET";

/// Times after a kill, in nanoseconds.
struct Times {
    gone: u64,
    ready: u64,
    served: u64,
    answered: u64,
}

pub(crate) fn measure(host: &Host, args: &Args, samples: &mut Samples) -> Result<()> {
    let numbers: &[usize] = if args.quick { &[1, 10] } else { &[1, 100, 1000] };
    let rounds = if args.quick { 3 } else { ROUNDS };
    samples.total(numbers.len() * rounds * 6)?;
    let arguments = arguments(&Service::find("noxsd")?)?;
    let mut daemon = Daemon::start(FLAVOUR, SHELLS)?;
    // Redis is one of the guests.
    run("chaos", &["create", "--quiet", "redis.cfg"])?;
    let connect = || TcpStream::connect_timeout(&REDIS.into(), PATIENCE);
    let mut connection = connect()?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    redis::ping(&mut connection)?;
    let mut others = 0;
    let mut own = None;
    for &guests in numbers {
        let noxsd = Service::find("noxsd")?;
        for number in others..guests - 1 {
            from_pool(host, &mut daemon, &noxsd, &daytime(number)?)?;
        }
        others = guests - 1;
        for _ in 0..rounds {
            let times = round(host, &arguments, &mut own, &mut connection)?;
            samples.time(GONE, guests, times.gone)?;
            samples.time(STARTED, guests, times.ready)?;
            samples.time(SERVED, guests, times.served)?;
            samples.time(ANSWERED, guests, times.answered)?;
        }
        let load = Load::start(host, connect()?)?;
        for _ in 0..rounds {
            load.settle()?;
            let times = round(host, &arguments, &mut own, &mut connection)?;
            samples.time(LOADED_SERVED, guests, times.served)?;
            samples.time(LOADED_PAUSE, guests, load.pause()?)?;
        }
        load.finish(host, &mut connection)?;
    }
    alive(host, others)?;
    destroy(host, others)?;
    run("chaos", &["destroy", "redis"])?;
    daemon.stop()
}

/// Kills and restarts `noxsd`, which is the child `own` if this process has started it, and puts the
/// new one there.
fn round(
    host: &Host,
    arguments: &[String],
    own: &mut Option<Child>,
    connection: &mut TcpStream,
) -> Result<Times> {
    let folder = tempfile::tempdir()?;
    let ready_path = folder.path().join("ready");
    let ready = UnixDatagram::bind(&ready_path)?;
    ready.set_read_timeout(Some(PATIENCE))?;
    let log = fs::OpenOptions::new().create(true).append(true).open(LOG)?;
    let pid = pid(&Service::find("noxsd")?)?;
    let exit = pidfd_open(pid, PidfdFlags::empty())?;
    let (program, arguments) = arguments.split_first().context("noxsd has no name")?;
    let mut command = Command::new(program);
    command.args(arguments).env("NOTIFY_SOCKET", &ready_path).stdin(Stdio::null()).stderr(log);

    let started = Instant::now();
    pidfd_send_signal(&exit, Signal::KILL)?;
    redis::send_ping(connection)?;
    // Then the lock of its socket is free.
    let timeout = Timespec::try_from(PATIENCE)?;
    let ended = poll(&mut [PollFd::new(&exit, PollFlags::IN)], Some(&timeout))?;
    ensure!(ended == 1, "noxsd does not end after a SIGKILL");
    let gone = nanoseconds(started)?;
    let child = command.spawn().context("cannot run noxsd")?;
    let mut state = [0; 64];
    let length = ready.recv(&mut state).context("noxsd does not report that it is ready")?;
    ensure!(state[..length].starts_with(b"READY=1"), "noxsd reports {:?}", &state[..length]);
    let ready = nanoseconds(started)?;
    // It answers after it has attached all guests.
    let broken = host.noxsd.connect()?.broken()?;
    let served = nanoseconds(started)?;
    ensure!(broken.is_empty(), "after the restart devices are broken: {broken:?}");
    redis::receive_pong(connection)?;
    let answered = nanoseconds(started)?;
    redis::ping(connection)?;
    if let Some(mut child) = own.replace(child) {
        child.wait()?;
    }
    Ok(Times { gone, ready, served, answered })
}

/// Returns the arguments of a running daemon, its name first.
fn arguments(service: &Service) -> Result<Vec<String>> {
    let line = fs::read_to_string(service.folder().join("cmdline"))?;
    Ok(line.split_terminator('\0').map(ToOwned::to_owned).collect())
}

fn pid(service: &Service) -> Result<Pid> {
    let name = service.folder().file_name().and_then(|name| name.to_str());
    let pid = name.context("a folder of /proc has no name")?.parse()?;
    Pid::from_raw(pid).context("a process has no number")
}
