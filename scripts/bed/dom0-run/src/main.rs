// SPDX-License-Identifier: MIT OR Apache-2.0
//! Helps busybox in the test bed's dom0: runs a command and reports its output and status to the
//! host, starts a daemon and waits until it is ready, and times a command.

mod command;
mod daemon;
mod ports;
mod time;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "usage:
  dom0-run command FILE
      run the command whose NUL-terminated arguments are in FILE; its standard output, standard
      error and exit status go to the virtio ports stdout, stderr and status
  dom0-run daemon SECONDS PROGRAM [ARG...]
      start PROGRAM, which continues to run, and return when it has sent READY=1 to NOTIFY_SOCKET
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
