// SPDX-License-Identifier: GPL-3.0-or-later
//! Creates, checks and destroys guests that run side by side. They are numbered from 0.

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

/// The number of shells in the pool when a create is requested.
pub(crate) const SHELLS: usize = 2;

/// Returns the config line for the vif of the guest of this number.
pub(crate) fn vif(number: usize) -> String {
    // Addresses from 10.1.0.2 on, which the shipped configs do not use.
    let address = number + 1;
    format!("vif=['bridge=xenbr0,ip=10.1.{}.{}/16']", address / 250, address % 250 + 1)
}

/// Returns the config of a daytime guest with its vif. The first guest keeps the address of the
/// shipped config, so that dom0 can reach it.
pub(crate) fn daytime(number: usize) -> Result<DomainConfig> {
    match number {
        0 => config("daytime.cfg", &[&name(number)]),
        _ => config("daytime.cfg", &[&name(number), &vif(number)]),
    }
}

/// Asks the first daytime guest for the time, and returns how long that took in nanoseconds, from
/// the connect to the end of the answer.
pub(crate) fn ask_first() -> Result<u64> {
    let started = Instant::now();
    let mut connection = TcpStream::connect_timeout(&FIRST.into(), PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let ns = nanoseconds(started)?;
    ensure!(answer.contains(':'), "the first guest answered {answer:?}, which is not a time");
    Ok(ns)
}

/// The first daytime guest's address from daytime.cfg, and the port of RFC 867.
const FIRST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 3), 13);

/// Returns the config of a guest with a console and a vif in XenStore mode. It is the noop guest,
/// because daytime shuts down when it finds no device page.
pub(crate) fn in_xenstore(number: usize) -> Result<DomainConfig> {
    config("noop.cfg", &["console=1", "store='xenstore'", &name(number), &vif(number)])
}

/// A hotplug script for xl that does only what a vif needs.
const SCRIPT: &str = "#!/bin/sh\n[ \"$1\" = online ] || exit 0\n\
     ip link set \"$vif\" master xenbr0 up\n\
     xenstore-write \"$XENBUS_PATH/hotplug-status\" connected\n";
const SCRIPT_FILE: &str = "/tmp/vif-three-lines";

/// Writes the script of three lines, and returns the line of xl's config for a vif with it.
pub(crate) fn three_lines() -> Result<String> {
    fs::write(SCRIPT_FILE, SCRIPT)?;
    fs::set_permissions(SCRIPT_FILE, fs::Permissions::from_mode(0o755))?;
    Ok(format!("vif=['bridge=xenbr0,script={SCRIPT_FILE}']\n"))
}

/// Returns the name of the guest of this number.
pub(crate) fn guest(number: usize) -> String {
    format!("guest-{number}")
}

/// Returns the config line with this guest's name.
pub(crate) fn name(number: usize) -> String {
    format!("name='{}'", guest(number))
}

/// Creates a guest through `chaosd` from a shell of the pool, unpauses it, and waits until the pool
/// is full again. Adds the stage `unpause` to the stages that `chaosd` reports.
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

/// Returns the sum of the stages in nanoseconds.
pub(crate) fn all_ns(created: &CreatedGuest) -> u64 {
    created.daemon_stages.iter().map(|(_, ns)| ns).sum()
}

/// Destroys the guests below this number, the last one first. Writes a sample for each: how long it
/// took, over the number of guests before it.
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

/// Destroys the guests below this number.
pub(crate) fn destroy(host: &Host, guests: usize) -> Result<()> {
    for number in 0..guests {
        guests::destroy(host, &guest(number))?;
    }
    Ok(())
}

/// Checks that all guests below this number have reported on their console that they are ready, and
/// that as many domains are blocked, waiting for an event.
pub(crate) fn alive(host: &Host, guests: usize) -> Result<()> {
    for number in 0..guests {
        let name = guest(number);
        ensure!(has_printed(host, &name, "ready")?, "{name} has not reported that it is ready");
    }
    let domains = host.xen.domain_list(DomId(1))?;
    let waiting = domains.iter().filter(|info| info.state.blocked && info.cpu_time_ns > 0).count();
    ensure!(waiting >= guests, "only {waiting} of {guests} guests are waiting for an event");
    Ok(())
}

/// Returns whether the guest's console log contains the word.
fn has_printed(host: &Host, name: &str, word: &str) -> Result<bool> {
    let log = guests::read_log(host, name).map_err(|error| anyhow!("{name}: {error}"))?;
    Ok(String::from_utf8_lossy(&log).contains(word))
}
