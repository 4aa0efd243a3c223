//! What the test bed's dom0 needs beside busybox: running a command with its output and status
//! reported to the host, starting a daemon that says when it is ready, and timing a command.
//! Nothing here polls.

mod command;
mod daemon;
mod ports;
mod time;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "usage:
  dom0-run command FILE
      run the command whose NUL-terminated arguments FILE holds; its standard output, standard
      error and exit status go to the virtio ports stdout, stderr and status
  dom0-run daemon SECONDS PROGRAM [ARG...]
      start PROGRAM and return when it has sent READY=1 to NOTIFY_SOCKET; it stays
  dom0-run time PROGRAM [ARG...]
      run PROGRAM and print the milliseconds from its start to its exit";

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let verb = arguments.next();
    let rest: Vec<_> = arguments.collect();
    let result = match (verb.as_ref().and_then(|verb| verb.to_str()), &rest[..]) {
        (Some("command"), [file]) => command::run(file.as_ref()),
        (Some("daemon"), [seconds, program, arguments @ ..]) => {
            daemon::start(seconds, program, arguments)
        }
        (Some("time"), [program, arguments @ ..]) => time::run(program, arguments),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("dom0-run: {message}");
            ExitCode::FAILURE
        }
    }
}
