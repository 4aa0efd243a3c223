//! The command line: what was asked for is parsed in [`args`], done by the library, and printed
//! by [`output`], the only module that prints.

mod args;
mod console;
mod exit;
mod output;
mod table;

use std::time::Duration;

use chaos::config;
use chaos::lifecycle::{self, CreateOptions, Host, LifecycleError, ShutdownOptions};
use chaos::timings::Timings;
use noxs::Request;
use xen::units::DomId;

use args::{Command, CreateArgs, GuestArgs, ListArgs, ShutdownArgs};
use exit::Failure;
use output::Output;

/// Runs the command of this process and returns its exit code.
pub(crate) fn run() -> u8 {
    let timings = Timings::start();
    let command = match Command::of_this_process() {
        Ok(command) => command,
        Err(error) => return exit::usage(&error),
    };
    let mut output = Output::default();
    let result = dispatch(command, timings, &mut output).and_then(|()| output.finish());
    match result {
        Ok(()) => 0,
        Err(failure) => failure.report(),
    }
}

fn dispatch(command: Command, timings: Timings, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Create(args) => create(&args, timings, output),
        Command::List(ListArgs { json, all }) => {
            let guests = lifecycle::list(&Host::open()?, all)?;
            match json {
                true => output.json(&guests),
                false => output.text(&table::guests(&guests)),
            }
            Ok(())
        }
        Command::Destroy(args) => destroy(&args.guests, args.json, output),
        Command::Shutdown(args) => shutdown(&args, Request::Poweroff, output),
        Command::Reboot(args) => shutdown(&args, Request::Reboot, output),
        Command::Pause(GuestArgs { guest }) => {
            let host = Host::open()?;
            Ok(host.xen.pause(running(&host, &guest)?).map_err(LifecycleError::from)?)
        }
        Command::Unpause(GuestArgs { guest }) => {
            let host = Host::open()?;
            Ok(host.xen.unpause(running(&host, &guest)?).map_err(LifecycleError::from)?)
        }
        Command::Console(GuestArgs { guest }) => {
            let host = Host::open()?;
            let connection = lifecycle::console(&host, &guest)?;
            console::run(&connection)
        }
        Command::Log(args) => log(&args, output),
    }
}

fn create(args: &CreateArgs, mut timings: Timings, output: &mut Output) -> Result<(), Failure> {
    let parsed = config::parse_file(&args.config, &args.overrides, args.strict)?;
    for warning in &parsed.warnings {
        output.warning(warning);
    }
    timings.stage("config");
    let host = Host::open()?;
    timings.stage("open Xen");
    let options = CreateOptions { paused: args.paused, console: args.console };
    let created = lifecycle::create(&host, &parsed.config, options, &mut timings)?;
    match args.json {
        true => output.json(&table::CreatedJson::new(&created.record, &timings)),
        false => {
            if !args.quiet {
                let name = &created.record.name;
                output.text(&format!("{name} is domain {}\n", created.domid.0));
            }
            if args.timings {
                output.text(&table::stages(&timings));
            }
        }
    }
    match created.console {
        Some(connection) => {
            drop(created.mapped);
            output.flush();
            console::run(&connection)
        }
        None => {
            // This process is about to end, which unmaps and closes in less time.
            std::mem::forget((created.mapped, host));
            Ok(())
        }
    }
}

fn destroy(guests: &[String], json: bool, output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    let mut destroyed = Vec::new();
    let mut failure = None;
    for guest in guests {
        match lifecycle::destroy(&host, guest) {
            Ok(done) => {
                if let Some(warning) = &done.warning {
                    output.warning(warning);
                }
                if done.was_gone {
                    output.warning(&format!("{guest} was gone already; its record is removed"));
                }
                destroyed.push(done);
            }
            // One that fails does not keep the others alive; the first failure decides the exit
            // code, the later ones are told now.
            Err(error) => match failure {
                None => failure = Some(Failure::from(error)),
                Some(_) => output.warning(&exit::chain(&error)),
            },
        }
    }
    if json {
        output.json(&destroyed);
    }
    failure.map_or(Ok(()), Err)
}

fn shutdown(args: &ShutdownArgs, request: Request, output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    let timeout = Duration::from_secs(args.timeout);
    let options = ShutdownOptions { request, wait: args.wait, timeout };
    let outcome = lifecycle::shutdown(&host, &args.guest, options)?;
    if args.json {
        output.json(&outcome);
    }
    Ok(())
}

fn log(args: &GuestArgs, output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    let log = lifecycle::read_log(&host, &args.guest)?;
    output.bytes(&log);
    Ok(())
}

/// The domid of a guest that is there.
fn running(host: &Host, guest: &str) -> Result<DomId, LifecycleError> {
    let found = lifecycle::resolve(host, guest)?;
    match found.info {
        Some(_) => Ok(found.domid),
        None => Err(LifecycleError::NoSuchGuest { target: guest.to_owned() }),
    }
}
