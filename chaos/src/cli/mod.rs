//! The command line: what was asked for is parsed in [`args`], done by the library, and printed
//! by [`output`], the only module that prints.

mod args;
mod console;
mod create;
mod exit;
mod output;
mod plain;
mod table;

use std::path::Path;
use std::time::Duration;

use chaos::chain::chain;
use chaos::clients::chaosd;
use chaos::clients::chaosd::client::Chaosd;
use chaos::clients::chaosd::protocol::{Reply, Request};
use chaos::guests::{self, Host, ShutdownOptions};
use chaos::timings::Timings;

use args::{Command, GuestArgs, ListArgs, PoolAction, PoolArgs, ShutdownArgs};
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
        Command::Create(args) => create::run(&args, timings, output),
        command => others(command, output),
    }
}

/// Does what is asked for less often than a create, whose code does not lie beside theirs.
#[inline(never)]
fn others(command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Create(_) => unreachable!("done by dispatch"),
        Command::Pool(args) => pool(&args, output),
        Command::List(ListArgs { json, all }) => {
            let guests = guests::list(&Host::open()?, all)?;
            match json {
                true => output.json(&guests),
                false => output.text(&table::guests(&guests)),
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
            let connection = guests::console(&host, &guest)?;
            console::run(&connection)
        }
        Command::Log(args) => log(&args, output),
    }
}

fn pool(args: &PoolArgs, output: &mut Output) -> Result<(), Failure> {
    let daemon = Chaosd::connect(Path::new(chaosd::SOCKET))?;
    let request = match &args.action {
        None => Request::Pool,
        Some(PoolAction::Drain) => Request::Drain,
        Some(PoolAction::Resize { flavour, low, high }) => {
            Request::Resize { flavour: flavour.clone(), low: *low, high: *high }
        }
    };
    if let Reply::Pool(flavours) = daemon.ask(&request, &[])? {
        match args.json {
            true => output.json(&flavours),
            false => output.text(&table::pool(&flavours)),
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
                    output.warning(&format!("{guest} was gone already; its record is removed"));
                }
                destroyed.push(done);
            }
            // One that fails does not keep the others alive; the first failure decides the exit
            // code, the later ones are told now.
            Err(error) => match failure {
                None => failure = Some(Failure::from(error)),
                Some(_) => output.warning(&chain(&error)),
            },
        }
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
    let timeout = Duration::from_secs(args.timeout);
    let options = ShutdownOptions { request, wait: args.wait, timeout };
    let outcome = guests::shutdown(&host, &args.guest, options)?;
    if args.json {
        output.json(&outcome);
    }
    Ok(())
}

fn log(args: &GuestArgs, output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    let log = guests::read_log(&host, &args.guest)?;
    output.bytes(&log);
    Ok(())
}
