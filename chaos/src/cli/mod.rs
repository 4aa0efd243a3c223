// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line. [`plain`] and [`grammar`] parse the arguments into a [`Command`], the library
//! carries it out, and [`output`], the only module that prints, prints the result.

mod args;
mod config;
mod console;
mod create;
mod devices;
mod exit;
mod failure;
mod grammar;
mod help;
mod output;
mod plain;
mod table;

use std::ffi::OsString;
use std::time::Duration;

use chaos::clients::chaosd;
use chaos::config::Action;
use chaos::guests::{self, GuestState, Host, ShutdownOptions};
use chaos::request::PoolControl;
use chaos::timings::Timings;
use daemon::chain::chain;
use noxs_control::{ConsoleRole, ConsoleUse};

use args::{Command, GuestArgs, ListArgs, LogArgs, PoolAction, PoolArgs, ShutdownArgs};
use failure::Failure;
use output::Output;

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
        Command::List(ListArgs { json, all }) => {
            let listed = guests::list(&Host::open()?, all)?;
            if json {
                output.json(&listed.guests);
            } else {
                output.text(&table::guests(&listed.guests));
            }
            if let Some(error) = &listed.unserved {
                output.warning(&format!(
                    "the guests' consoles, networks and disks stand still: {}",
                    chain(error)
                ));
            }
            Ok(())
        }
        Command::Destroy(args) => destroy(&args.guests, args.json, output),
        Command::Shutdown(args) => shutdown(&args, noxs::Request::Poweroff, output),
        Command::Reboot(args) => shutdown(&args, noxs::Request::Reboot, output),
        Command::Pause(GuestArgs { guest }) => {
            let host = Host::open()?;
            Ok(guests::pause(&host, &guest)?)
        }
        Command::Unpause(GuestArgs { guest }) => {
            let host = Host::open()?;
            Ok(guests::unpause(&host, &guest)?)
        }
        Command::Console(GuestArgs { guest }) => {
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
    let mut failure = None;
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
            // The other guests are still destroyed. The first failure decides the exit code and is
            // printed at the end, the later ones are printed now.
            Err(error) => match failure {
                None => failure = Some(Failure::from(error)),
                Some(_) => output.warning(&chain(&error)),
            },
        }
    }
    // Where chaosd does not run, no other process removes what killed creates have left.
    if let Err(error) = guests::reap(&host) {
        output.warning(&format!("cannot remove incomplete domains: {}", chain(&error)));
    }
    if json {
        output.json(&destroyed);
    }
    failure.map_or(Ok(()), Err)
}

fn shutdown(
    args: &ShutdownArgs,
    request: noxs::Request,
    output: &mut Output,
) -> Result<(), Failure> {
    let host = Host::open()?;
    let timeout = Duration::from_secs(args.timeout).min(MAX_TIMEOUT);
    let is_supervised = chaosd::client::is_running(&chaosd::socket());
    let options = ShutdownOptions { request, wait: args.wait, is_supervised, timeout };
    let outcome = guests::shutdown(&host, &args.guest, options)?;
    if is_supervised && outcome.destroyed {
        // chaosd answers once it has freed the name, too, which it does after it has destroyed the
        // domain. If it does not answer, it is being restarted, and the new one frees it.
        let _ = PoolControl::connect().map(|chaosd| chaosd.status());
    }
    if !is_supervised && matches!(outcome.action, Action::Restart | Action::RenameRestart) {
        output.warning(&format!(
            "chaosd does not run, so nothing restarts guest {}: it stays listed until chaos destroy",
            outcome.name
        ));
    }
    if args.json {
        output.json(&outcome);
    }
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
