//! Guests side by side.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use chaos::config::DomainConfig;
use chaos::guests::{self, Host};
use chaos::request::{CreatedGuest, Origin};
use chaos_bench::chaosd::{Daemon, create_paused, unpause};
use chaos_bench::guest::{Service, config, nanoseconds};
use chaos_bench::words::PATIENCE;
use xen::units::DomId;

use crate::samples::Samples;

/// How many shells wait when a create comes.
pub(crate) const SHELLS: usize = 2;

/// The line of a config that names the vif of the guest of this number, from 0 on.
pub(crate) fn vif(number: usize) -> String {
    // 10.1.0.1 and on: no guest of the shipped configs is there.
    let address = number + 1;
    format!("vif=['bridge=xenbr0,ip=10.1.{}.{}/16']", address / 250, address % 250 + 1)
}

/// The config of a daytime guest with its vif. The first one has the address of the shipped config,
/// for dom0 to reach it.
pub(crate) fn daytime(number: usize) -> Result<DomainConfig> {
    match number {
        0 => config("daytime.cfg", &[&name(number)]),
        _ => config("daytime.cfg", &[&name(number), &vif(number)]),
    }
}

/// Asks the first of the daytime guests for the time, and gives how long that took, from connecting
/// to the end of the answer, in nanoseconds.
pub(crate) fn ask_first() -> Result<u64> {
    let started = Instant::now();
    let mut connection = TcpStream::connect_timeout(&FIRST.into(), PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let ns = nanoseconds(started)?;
    ensure!(answer.contains(':'), "the first guest answered {answer:?}, which is no time");
    Ok(ns)
}

/// Where the first of the daytime guests answers: as daytime.cfg says, on the port of RFC 867.
const FIRST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 3), 13);

/// The config of a guest with a console and a vif in XenStore mode. It is a noop, since that lives
/// there; daytime would stop for want of a device page.
pub(crate) fn in_xenstore(number: usize) -> Result<DomainConfig> {
    config("noop.cfg", &["console=1", "store='xenstore'", &name(number), &vif(number)])
}

/// A hotplug script for xl that does what a vif needs and no more.
const SCRIPT: &str = "#!/bin/sh\n[ \"$1\" = online ] || exit 0\n\
     ip link set \"$vif\" master xenbr0 up\n\
     xenstore-write \"$XENBUS_PATH/hotplug-status\" connected\n";
const SCRIPT_FILE: &str = "/tmp/vif-three-lines";

/// The line of xl's config for a vif with a script of three lines, which this makes.
pub(crate) fn three_lines() -> Result<String> {
    fs::write(SCRIPT_FILE, SCRIPT)?;
    fs::set_permissions(SCRIPT_FILE, fs::Permissions::from_mode(0o755))?;
    Ok(format!("vif=['bridge=xenbr0,script={SCRIPT_FILE}']\n"))
}

/// The name of the guest of this number.
pub(crate) fn guest(number: usize) -> String {
    format!("guest-{number}")
}

/// The line of a config that gives it its name.
pub(crate) fn name(number: usize) -> String {
    format!("name='{}'", guest(number))
}

/// Creates a guest through `chaosd` from a shell that waits, lets it run, and waits until the pool is
/// full again. `unpause` is added to the stages that it returns, in nanoseconds.
pub(crate) fn from_pool(
    host: &Host,
    daemon: &mut Daemon,
    noxsd: &Service,
    config: &DomainConfig,
) -> Result<CreatedGuest> {
    let mut created = create_paused(config)?;
    ensure!(created.origin == Origin::Pool, "the shell was {}", created.origin.as_str());
    let unpause_ns = unpause(host, noxsd, created.domid)?;
    created.daemon_stages.push(("unpause".to_owned(), unpause_ns));
    daemon.wait_until_full()?;
    Ok(created)
}

/// The sum of the stages.
pub(crate) fn all_ns(created: &CreatedGuest) -> u64 {
    created.daemon_stages.iter().map(|(_, ns)| ns).sum()
}

/// Destroys the first so many guests, the last one first, and gives what each took by how many there
/// were.
pub(crate) fn destroy_each(
    host: &Host,
    guests: usize,
    series: &str,
    samples: &mut Samples,
) -> Result<()> {
    for number in (0..guests).rev() {
        let started = Instant::now();
        guests::destroy(host, &guest(number))?;
        samples.time(series, number + 1, nanoseconds(started)?)?;
    }
    Ok(())
}

/// Destroys the first so many guests.
pub(crate) fn destroy(host: &Host, guests: usize) -> Result<()> {
    for number in 0..guests {
        guests::destroy(host, &guest(number))?;
    }
    Ok(())
}

/// Sees to it that all of the first so many guests have said that they are ready, and wait for
/// something.
pub(crate) fn alive(host: &Host, guests: usize) -> Result<()> {
    for number in 0..guests {
        let name = guest(number);
        ensure!(has_said(host, &name, "ready")?, "{name} has not said that it is ready");
    }
    let domains = host.xen.domain_list(DomId(1))?;
    let waiting = domains.iter().filter(|info| info.state.blocked && info.cpu_time_ns > 0).count();
    ensure!(waiting >= guests, "{waiting} of {guests} guests wait for something");
    Ok(())
}

/// Whether the guest has said this on its console.
fn has_said(host: &Host, name: &str, word: &str) -> Result<bool> {
    let log = guests::read_log(host, name).map_err(|error| anyhow!("{name}: {error}"))?;
    Ok(String::from_utf8_lossy(&log).contains(word))
}
