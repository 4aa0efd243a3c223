//! Creating one daytime guest after another with one vif each, until there are many (figure 9 of
//! the paper).
//!
//! Each way of creating has its own series, and begins on a host without guests.

use std::path::absolute;

use anyhow::{Context, Result};
use chaos::lifecycle::Host;
use chaos_bench::chaosd::Daemon;
use chaos_bench::exec::run;
use chaos_bench::guest::{self, Service};
use chaos_bench::let_xen_scrub;

use crate::Args;
use crate::samples::Samples;
use crate::side_by_side::{SHELLS, all_ns, daytime, destroy, from_pool, name, vif};

/// What `chaosd` is told of the shells.
const FLAVOUR: &str = "memory='4M'\nbridges=['xenbr0']";

pub(crate) fn measure(host: &Host, args: &Args, samples: &mut Samples) -> Result<()> {
    let guests = args.guests(1000, 30);
    let xl_guests = args.xl_guests(60, 3);
    samples.total(4 * guests + xl_guests + FLOOR)?;
    for number in 0..FLOOR {
        samples.time("a program that only exits", number + 1, run("exits", &[])?)?;
    }
    in_process(host, guests, samples)?;
    in_chaosd(host, guests, samples)?;
    commands(host, guests, "chaos [noxs]: command", &["--no-daemon"], samples)?;
    let daemon = Daemon::start(FLAVOUR, SHELLS)?;
    commands_of_pool(host, guests, daemon, samples)?;
    xl(xl_guests, samples)
}

/// Of how many creates at the beginning and at the end the stages are told.
const ENDS: usize = 20;

/// How often the empty program runs.
const FLOOR: usize = 10;

/// From the request until the guest may run, in one process.
fn in_process(host: &Host, guests: usize, samples: &mut Samples) -> Result<()> {
    // The first create of a process pays for things that stay.
    guest::create(host, &daytime(0)?)?;
    destroy(host, 1)?;
    for number in 0..guests {
        let config = daytime(number)?;
        let_xen_scrub();
        let sample = guest::create(host, &config)?;
        samples.time("chaos [noxs]", number + 1, sample.all_ns())?;
        // What grows, if anything does.
        if number < ENDS || number + ENDS >= guests {
            for stage in sample.stages() {
                samples.time(&format!("stage {}", stage.name), number + 1, stage.ns)?;
            }
            samples.time("stage unpause", number + 1, sample.unpause.own_ns)?;
        }
    }
    destroy(host, guests)
}

/// From the request until the guest may run, in `chaosd`.
fn in_chaosd(host: &Host, guests: usize, samples: &mut Samples) -> Result<()> {
    let mut daemon = Daemon::start(FLAVOUR, SHELLS)?;
    let noxsd = Service::find("noxsd")?;
    from_pool(host, &mut daemon, &noxsd, &daytime(0)?)?;
    destroy(host, 1)?;
    for number in 0..guests {
        let config = daytime(number)?;
        let_xen_scrub();
        let created = from_pool(host, &mut daemon, &noxsd, &config)?;
        samples.time("chaos [noxs+split]", number + 1, all_ns(&created))?;
    }
    destroy(host, guests)?;
    daemon.end()
}

/// The whole command, from `execve` to its end.
fn commands(
    host: &Host,
    guests: usize,
    series: &str,
    options: &[&str],
    samples: &mut Samples,
) -> Result<()> {
    for number in 0..guests {
        let_xen_scrub();
        samples.time(series, number + 1, command(number, options)?)?;
    }
    destroy(host, guests)
}

fn commands_of_pool(
    host: &Host,
    guests: usize,
    mut daemon: Daemon,
    samples: &mut Samples,
) -> Result<()> {
    for number in 0..guests {
        let_xen_scrub();
        samples.time("chaos [noxs+split]: command", number + 1, command(number, &[])?)?;
        daemon.wait_until_full()?;
    }
    destroy(host, guests)?;
    daemon.end()
}

fn command(number: usize, options: &[&str]) -> Result<u64> {
    let (name, vif) = (name(number), vif(number));
    run("chaos", &[&["create", "--quiet"], options, &["daytime.cfg", &name, &vif]].concat())
}

/// The whole command of xl, with its own hotplug script. The guest finds no device page, says so
/// and stops, and is kept: that is after the create.
fn xl(guests: usize, samples: &mut Samples) -> Result<()> {
    for number in 0..guests {
        let file = "/tmp/xl-create.cfg";
        let text = format!(
            "name='xl-{number}'\ntype='pvh'\nkernel='{}'\nmemory=4\nvcpus=1\n\
             on_crash='preserve'\nvif=['bridge=xenbr0']\n",
            absolute("daytime")?.display()
        );
        std::fs::write(file, text)?;
        let_xen_scrub();
        let ns = run("xl", &["create", "-q", file]).context("xl's series")?;
        samples.time("xl", number + 1, ns)?;
    }
    for number in 0..guests {
        run("xl", &["destroy", &format!("xl-{number}")])?;
    }
    Ok(())
}
