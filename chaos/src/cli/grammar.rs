//! How the commands are written.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args as _, FromArgMatches};

use super::args::{Command, CreateArgs, DestroyArgs, GuestArgs, ListArgs, PoolArgs, ShutdownArgs};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it was tried and failed
  2  the arguments, the config, the kernel or the ramdisk are wrong; nothing was tried
  3  there is no such guest
  4  this is not a dom0 in working order: not root, not dom0, no Xen, noxsd not running
  5  the guest did not do in time what was asked

Examples:
  chaos create redis.cfg                  create a guest
  chaos create redis.cfg 'memory=16'      the same, with another value
  chaos create -c daytime.cfg             create it and show its console
  chaos create -n 50 daytime.cfg          create daytime-1 to daytime-50
  chaos list --json                       which guests there are, for programs
  chaos shutdown -w redis                 ask it to end, wait, remove it";

/// Parses a command line, whose first argument is the program's name.
///
/// # Errors
/// The arguments are wrong, or ask for help.
#[inline(never)]
pub(super) fn of_words(
    words: impl Iterator<Item = OsString> + Clone,
) -> Result<Command, clap::Error> {
    // A command line that names a command is parsed with that one only: to describe the others, for
    // help and for suggestions, would take as long as the rest of the start.
    let named = words.clone().nth(1);
    let only = COMMANDS.iter().find(|row| named.as_ref().is_some_and(|name| row.0 == name));
    let rows = only.map_or(COMMANDS, std::slice::from_ref);
    command(chaos(rows).try_get_matches_from(words)?)
}

fn command(mut matches: ArgMatches) -> Result<Command, clap::Error> {
    let (name, mut matches) = matches.remove_subcommand().unwrap_or_default();
    let matches = &mut matches;
    Ok(match name.as_str() {
        "create" => Command::Create(args(matches)?),
        "list" => Command::List(args(matches)?),
        "destroy" => Command::Destroy(args(matches)?),
        "shutdown" => Command::Shutdown(args(matches)?),
        "reboot" => Command::Reboot(args(matches)?),
        "pause" => Command::Pause(args(matches)?),
        "unpause" => Command::Unpause(args(matches)?),
        "console" => Command::Console(args(matches)?),
        "log" => Command::Log(args(matches)?),
        "pool" => Command::Pool(args(matches)?),
        _ => {
            return Err(chaos(COMMANDS).error(ErrorKind::MissingSubcommand, "a command is missing"));
        }
    })
}

fn args<A: FromArgMatches>(matches: &mut ArgMatches) -> Result<A, clap::Error> {
    A::from_arg_matches_mut(matches)
}

/// A command: its name, another name for it, what it does, and its arguments.
type CommandRow =
    (&'static str, Option<&'static str>, &'static str, fn(clap::Command) -> clap::Command);

const COMMANDS: &[CommandRow] = &[
    (
        "create",
        None,
        "Create a guest from a config file in the syntax of xl.cfg(5)",
        CreateArgs::augment_args,
    ),
    ("list", Some("ls"), "List the guests", ListArgs::augment_args),
    (
        "destroy",
        Some("rm"),
        "Destroy guests at once, without asking them",
        DestroyArgs::augment_args,
    ),
    (
        "shutdown",
        None,
        "Ask a guest to power off. One that has ended stays listed until it is destroyed",
        ShutdownArgs::augment_args,
    ),
    ("reboot", None, "Ask a guest to reboot", ShutdownArgs::augment_args),
    ("pause", None, "Stop a guest from running", GuestArgs::augment_args),
    ("unpause", None, "Let a paused guest run", GuestArgs::augment_args),
    ("console", None, "Connect to a guest's console; Ctrl-] leaves it", GuestArgs::augment_args),
    (
        "log",
        None,
        "Print what a guest's console has printed, as far as it is kept",
        GuestArgs::augment_args,
    ),
    ("pool", None, "Show the shells that chaosd keeps ready", PoolArgs::augment_args),
];

/// Describes the command line with some of the commands. Each command's own arguments are only
/// described when it is used.
fn chaos(commands: &[CommandRow]) -> clap::Command {
    let mut chaos = clap::Command::new("chaos")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Xen toolstack for many small, short-lived guests")
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg_required_else_help(true);
    if commands.len() > 1 {
        chaos = chaos.after_help(EXIT_CODES);
    }
    for (name, alias, about, arguments) in commands {
        let command = clap::Command::new(*name).about(*about).defer(*arguments);
        chaos = chaos.subcommand(command.visible_aliases(*alias));
    }
    chaos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        chaos(COMMANDS).debug_assert();
    }

    #[test]
    fn each_command_is_understood() {
        for described in chaos(COMMANDS).get_subcommands() {
            let name = described.get_name();
            let operand = (!["list", "pool"].contains(&name)).then_some("guest");
            let words = ["chaos", name].into_iter().chain(operand);
            let matches = chaos(COMMANDS).try_get_matches_from(words).unwrap();
            let command = command(matches).unwrap();
            let variant = format!("{command:?}").to_lowercase();
            assert!(variant.starts_with(name), "{name} gave {variant}");
        }
    }
}
