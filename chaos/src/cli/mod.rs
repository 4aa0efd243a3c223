// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line. [`plain`] and [`grammar`] parse the arguments into a [`Command`], the library
//! carries it out, and [`output`], the only module that prints, prints the result.

mod args;
mod commands;
mod config;
mod config_update;
mod console;
mod cpupools;
mod create;
mod devices;
mod exit;
mod failure;
mod file_and_lines;
mod grammar;
mod guest;
mod guest_args;
mod guest_help;
mod help;
mod host;
mod host_args;
mod host_error;
mod host_help;
mod list;
mod machine;
mod observe;
mod output;
mod plain;
mod power;
mod schedulers;
mod table;
mod top;
mod vcpus;
mod xl_table;
mod xl_verbs;

use std::ffi::OsString;
use std::time::Duration;

use chaos::escape;
use chaos::guests::{self, GuestState, Host, LifecycleError, ListedGuest};
use chaos::local_time::time_of_day;
use chaos::records::since_boot_ms;
use chaos::request::PoolControl;
use chaos::timings::Timings;
use daemon::chain::chain;
use noxs_control::{ConsoleRole, ConsoleUse};

use args::{
    Command, ConsoleArgs, DomidArgs, DomnameArgs, GuestArgs, LogArgs, PoolAction, PoolArgs,
    RenameArgs, UptimeArgs,
};
use failure::{Failure, FirstFailure};
use output::Output;
use xl_table::Uptime;

/// Runs the command of this process and returns its exit code.
pub(crate) fn run() -> u8 {
    let timings = Timings::start();
    let command = match command() {
        Ok(command) => command,
        Err(error) => return exit::usage(&error),
    };
    let mut output = Output::default();
    let result = dispatch(command, timings, &mut output).and_then(|()| output.finish());
    match result {
        Ok(()) => 0,
        Err(failure) => exit::report(&failure),
    }
}

/// Parses this process's arguments.
///
/// # Errors
/// They are wrong, or ask for help.
fn command() -> Result<Command, clap::Error> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|name| name == "create")
        && let Some(args) = plain::create(arguments)
    {
        return Ok(Command::Create(args));
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    grammar::parse(arguments.into_iter())
}

fn dispatch(command: Command, timings: Timings, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Create(args) => create::run(&args, timings, output),
        command => others(command, output),
    }
}

/// Runs all commands but create. Not inlined, so that their code does not lie among the code of a
/// create.
#[inline(never)]
fn others(command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Create(_) => unreachable!("dispatch runs it"),
        Command::Config(args) => config::run(&args, output),
        Command::Pool(args) => pool(&args, output),
        Command::Metrics(args) => observe::metrics(&args, output),
        Command::Events(args) => observe::events(&args, output),
        Command::Top(args) => top::run(&args),
        Command::List(args) => list::run(&args, output),
        Command::Destroy(args) => destroy(&args.guests, args.json, output),
        Command::Shutdown(args) => power::run(&args, noxs::Request::Poweroff, output),
        Command::Reboot(args) => power::run(&args, noxs::Request::Reboot, output),
        Command::Pause(GuestArgs { guest }) => {
            let host = Host::open()?;
            Ok(guests::pause(&host, &guest)?)
        }
        Command::Unpause(GuestArgs { guest }) => {
            let host = Host::open()?;
            Ok(guests::unpause(&host, &guest)?)
        }
        Command::Rename(RenameArgs { guest, name }) => {
            let host = Host::open()?;
            Ok(guests::rename(&host, &guest, &name)?)
        }
        Command::Domid(DomidArgs { name }) => {
            output.text(&format!("{}\n", guests::domid_of(&Host::open()?, &name)?.0));
            Ok(())
        }
        Command::Domname(DomnameArgs { domid }) => {
            let name = guests::name_of(&Host::open()?, domid)?;
            output.text(&format!("{}\n", escape::line(&name)));
            Ok(())
        }
        Command::Uptime(args) => uptime(&args, output),
        Command::Console(ConsoleArgs { guest, .. }) => {
            let host = Host::open()?;
            let console = guests::console(&host, &guest, ConsoleUse::Terminal)?;
            let name = &console.name;
            if console.role == ConsoleRole::Reader {
                output.note(&format!(
                    "another client types at the console of guest {name}: you see its output, and \
                     can type when that client has left (Ctrl-] detaches)"
                ));
            }
            if let Some(state) = console.idle {
                output.note(&format!(
                    "guest {name} is {}: its console prints nothing until it runs again{}",
                    state.as_str(),
                    match state {
                        GuestState::Paused => format!("; let it run with chaos unpause {name}"),
                        _ => String::new(),
                    }
                ));
            }
            console::run(&console.connection)
        }
        Command::Log(args) => log(&args, output),
        Command::NetworkAttach(args) => devices::attach_vif(&args, output),
        Command::NetworkDetach(args) => devices::detach_vif(&args),
        Command::NetworkList(args) => devices::list_vifs(&args, output),
        Command::BlockAttach(args) => devices::attach_disk(&args, output),
        Command::BlockDetach(args) => devices::detach_disk(&args),
        Command::BlockList(args) => devices::list_disks(&args, output),
        Command::Guest(command) => guest::run(&command, output),
        Command::Host(command) => host::run(&command, output),
    }
}

/// The longest that a command waits. The sum of any point in time and this is a point in time.
const MAX_TIMEOUT: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

fn pool(args: &PoolArgs, output: &mut Output) -> Result<(), Failure> {
    let pool = PoolControl::connect()?;
    match &args.action {
        None => {
            let flavours = pool.status()?;
            if args.json {
                output.json(&flavours);
            } else {
                output.text(&table::pool(&flavours));
            }
        }
        Some(PoolAction::Drain) => pool.drain()?,
        Some(PoolAction::Resize { flavour, low, high }) => {
            pool.resize(flavour.clone(), *low, *high)?;
        }
    }
    Ok(())
}

fn destroy(guests: &[String], json: bool, output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    let mut destroyed = Vec::new();
    let mut failure = FirstFailure::default();
    for guest in guests {
        match guests::destroy(&host, guest) {
            Ok(done) => {
                if let Some(warning) = &done.warning {
                    output.warning(warning);
                }
                if done.was_gone {
                    output.warning(&format!("{guest} was already gone; its record is removed"));
                }
                destroyed.push(done);
            }
            // The other guests are still destroyed.
            Err(error) => failure.add(error, output),
        }
    }
    // Where chaosd does not run, no other process removes what killed creates have left.
    if let Err(error) = guests::reap(&host) {
        output.warning(&format!("cannot remove incomplete domains: {}", chain(&error)));
    }
    if json {
        output.json(&destroyed);
    }
    failure.result()
}

/// Returns the guests with these names or domids, in this order; all without any.
fn chosen(listed: &[ListedGuest], targets: &[String]) -> Result<Vec<ListedGuest>, LifecycleError> {
    if targets.is_empty() {
        return Ok(listed.to_vec());
    }
    let find = |target: &String| {
        let by_name = listed.iter().find(|guest| guest.name.as_ref() == Some(target));
        let has_number =
            |guest: &&ListedGuest| guest.domid.is_some_and(|domid| domid.to_string() == *target);
        let found = by_name.or_else(|| listed.iter().find(has_number));
        found.cloned().ok_or_else(|| LifecycleError::NoSuchGuest { target: target.clone() })
    };
    targets.iter().map(find).collect()
}

fn uptime(args: &UptimeArgs, output: &mut Output) -> Result<(), Failure> {
    let listed = guests::list(&Host::open()?, true)?.guests;
    // Domains of other toolstacks have one if XenStore says when they were created.
    let has_uptime = |guest: &ListedGuest| guest.age_ms.is_some() || guest.domid == Some(0);
    let mut uptimes = Vec::new();
    for guest in chosen(&listed, &args.guests)?.into_iter().filter(has_uptime) {
        let (Some(name), Some(domid)) = (guest.name, guest.domid) else { continue };
        let age = guest.age_ms.unwrap_or_else(since_boot_ms);
        uptimes.push(Uptime { name, domid, seconds: age / 1000 });
    }
    let now = args.short.then(|| time_of_day().unwrap_or_else(|| "--:--:--".to_owned()));
    output.text(&xl_table::uptimes(&uptimes, now.as_deref()));
    Ok(())
}

fn log(args: &LogArgs, output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    if args.follow {
        match guests::console(&host, &args.guest, ConsoleUse::Log) {
            Ok(console) => return console::follow(&console.connection, output),
            // It prints nothing more.
            Err(error) if error.has_ended() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let log = guests::read_log(&host, &args.guest)?;
    output.of_guest(&log);
    Ok(())
}
