// SPDX-License-Identifier: GPL-3.0-or-later
//! Creates one daytime guest after another with one vif each, until there are many (figure 9 of
//! the paper), and destroys them. In between it asks the first guest for the time, to see whether a
//! packet takes longer when there are more guests.
//!
//! Each way of creating has its own series and starts on a host without guests.

use anyhow::{Context, Result};
use chaos::config::{Backends, Discovery, DomainConfig, Store};
use chaos::guests::Host;
use chaos::timings::Stage;
use chaos_bench::chaosd::Daemon;
use chaos_bench::exec::run;
use chaos_bench::guest::{self, Service};
use chaos_bench::let_xen_scrub;
use chaos_bench::xl::write_config;

use crate::args::Args;
use crate::samples::Samples;
use crate::side_by_side::{
    SHELLS, all_ns, ask_first, daytime, destroy, destroy_each, from_pool, in_xenstore, name,
    three_lines, vif,
};

/// A mode of chaos.
struct Mode {
    /// The mode's name, in the paper's style.
    name: &'static str,
    /// The flavour of the shells in `chaosd`'s configuration.
    flavour: &'static str,
    /// Returns the config of the guest of this number, from 0.
    config: fn(usize) -> Result<DomainConfig>,
    /// What announces the devices. In XenStore mode xenstored takes part in each create, and the
    /// guests have no driver with which they could answer dom0.
    store: Store,
    /// Arguments of `chaos create`: the shipped config of these guests, and options.
    command: &'static [&'static str],
}

const NOXS: Mode = Mode {
    name: "noxs",
    flavour: "memory='4M'\nbridges=['xenbr0']",
    config: daytime,
    store: Store::Noxs,
    command: &["daytime.cfg"],
};

const XS: Mode = Mode {
    name: "XS",
    flavour: "memory='4M'\nbridges=['xenbr0']\nstore='xenstore'",
    config: in_xenstore,
    store: Store::XenStore,
    command: &["noop.cfg", "--store", "xenstore", "console=1"],
};

pub(crate) fn measure(host: &Host, args: &Args, samples: &mut Samples) -> Result<()> {
    let guests = args.guests(1000, 30);
    // A create takes a hundred times as long with xenstored.
    let xs_guests = guests.div_ceil(10);
    let xl_guests = args.xl_guests(60, 3);
    samples.total(6 * (guests + xs_guests) + 2 * xl_guests + 2 * FLOOR)?;
    for number in 0..FLOOR {
        samples.time("a process that only exits", number + 1, run("bare", &[])?)?;
        samples.time("a C program that only exits", number + 1, run("exits", &[])?)?;
    }
    for (mode, guests) in [(&NOXS, guests), (&XS, xs_guests)] {
        in_process(host, mode, guests, samples)?;
        in_chaosd(host, mode, guests, samples)?;
        commands(host, mode, guests, samples)?;
        commands_of_pool(host, mode, guests, samples)?;
    }
    xl("xl", "vif=['bridge=xenbr0']\n", xl_guests, samples)?;
    xl("xl, script of three lines", &three_lines()?, xl_guests, samples)
}

/// How many creates at each end are reported by stage.
const ENDS: usize = 20;

/// How often each program that only exits is run.
const FLOOR: usize = 10;

/// Times creates in this process, from the request until the guest may run.
fn in_process(host: &Host, mode: &Mode, guests: usize, samples: &mut Samples) -> Result<()> {
    // The first create of a process also pays for one-time set-up.
    guest::create(host, &(mode.config)(0)?)?;
    destroy(host, 1)?;
    let has_xenstored = mode.store.discovery() == Discovery::XenStore;
    let xenstored = has_xenstored.then(|| Service::find("xenstored")).transpose()?;
    let busy = || xenstored.as_ref().map(Service::cpu_ns).transpose();
    let series = format!("chaos [{}]", mode.name);
    for number in 0..guests {
        let config = (mode.config)(number)?;
        let_xen_scrub();
        let before = busy()?;
        let sample = guest::create(host, &config)?;
        samples.time(&series, number + 1, sample.all_ns())?;
        if let (Some(before), Some(now)) = (before, busy()?) {
            samples.time(&format!("{series}: in xenstored"), number + 1, now - before)?;
        }
        // These show which stage grows, if any does.
        if number < ENDS || number + ENDS >= guests {
            let stage = |name: &str| format!("stage [{}] {name}", mode.name);
            for Stage { name, ns } in sample.stages() {
                samples.time(&stage(name), number + 1, *ns)?;
            }
            samples.time(&stage("unpause"), number + 1, sample.unpause.own_ns)?;
        }
    }
    destroy_each(host, guests, &format!("{series}: destroy"), samples)
}

/// Times creates in `chaosd`, from the request until the guest may run.
fn in_chaosd(host: &Host, mode: &Mode, guests: usize, samples: &mut Samples) -> Result<()> {
    let mut daemon = Daemon::start(mode.flavour, SHELLS)?;
    let noxsd = Service::find("noxsd")?;
    from_pool(host, &mut daemon, &noxsd, &(mode.config)(0)?)?;
    destroy(host, 1)?;
    let series = format!("chaos [{}+split]", mode.name);
    for number in 0..guests {
        let config = (mode.config)(number)?;
        let_xen_scrub();
        let created = from_pool(host, &mut daemon, &noxsd, &config)?;
        samples.time(&series, number + 1, all_ns(&created))?;
        if mode.store.backends() == Backends::Noxsd
            && (ASKED.contains(&(number + 1)) || number + 1 == guests)
        {
            // Not counted: it may include dom0's ARP request for the address.
            ask_first()?;
            for _ in 0..QUESTIONS {
                samples.time("daytime's answer to dom0", number + 1, ask_first()?)?;
            }
        }
    }
    // Includes chaosd's own checks for guests that have shut down, which run in between.
    destroy_each(host, guests, &format!("{series}: destroy"), samples)?;
    daemon.stop()
}

/// The numbers of guests at which the first one is asked for the time.
const ASKED: [usize; 4] = [1, 10, 100, 1000];

/// How often it is asked at each of these numbers.
const QUESTIONS: usize = 10;

/// Times the whole command, from `execve` to its exit.
fn commands(host: &Host, mode: &Mode, guests: usize, samples: &mut Samples) -> Result<()> {
    let series = format!("chaos [{}]: command", mode.name);
    for number in 0..guests {
        let_xen_scrub();
        samples.time(&series, number + 1, command(mode, number, &["--no-daemon"])?)?;
    }
    destroy(host, guests)
}

fn commands_of_pool(host: &Host, mode: &Mode, guests: usize, samples: &mut Samples) -> Result<()> {
    let mut daemon = Daemon::start(mode.flavour, SHELLS)?;
    let series = format!("chaos [{}+split]: command", mode.name);
    for number in 0..guests {
        let_xen_scrub();
        samples.time(&series, number + 1, command(mode, number, &[])?)?;
        daemon.wait_until_full()?;
    }
    destroy(host, guests)?;
    daemon.stop()
}

fn command(mode: &Mode, number: usize, options: &[&str]) -> Result<u64> {
    let (name, vif) = (name(number), vif(number));
    run("chaos", &[&["create", "--quiet"], options, mode.command, &[&name, &vif]].concat())
}

/// Times the whole command of xl.
fn xl(series: &str, vif: &str, guests: usize, samples: &mut Samples) -> Result<()> {
    for number in 0..guests {
        let file = "/tmp/xl-create.cfg";
        write_config(file, &format!("xl-{number}"), "daytime", 4, vif)?;
        let_xen_scrub();
        let ns = run("xl", &["create", "-q", file]).context("xl's series")?;
        samples.time(series, number + 1, ns)?;
    }
    for number in 0..guests {
        run("xl", &["destroy", &format!("xl-{number}")])?;
    }
    Ok(())
}
