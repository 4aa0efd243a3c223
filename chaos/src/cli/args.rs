//! The arguments.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args as _, FromArgMatches};

use super::plain;

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

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    Create(CreateArgs),
    List(ListArgs),
    Destroy(DestroyArgs),
    Shutdown(ShutdownArgs),
    Reboot(ShutdownArgs),
    Pause(GuestArgs),
    Unpause(GuestArgs),
    Console(GuestArgs),
    Log(GuestArgs),
    Pool(PoolArgs),
}

impl Command {
    /// Reads this process's arguments.
    ///
    /// # Errors
    /// They make no sense, or ask for help.
    pub(crate) fn of_this_process() -> Result<Self, clap::Error> {
        let mut words = std::env::args_os().skip(1);
        if words.next().is_some_and(|name| name == "create")
            && let Some(args) = plain::create(words)
        {
            return Ok(Self::Create(args));
        }
        let words: Vec<OsString> = std::env::args_os().collect();
        of_words(words.into_iter())
    }

    fn of(mut matches: ArgMatches) -> Result<Self, clap::Error> {
        let (name, mut matches) = matches.remove_subcommand().unwrap_or_default();
        let matches = &mut matches;
        Ok(match name.as_str() {
            "create" => Self::Create(args(matches)?),
            "list" => Self::List(args(matches)?),
            "destroy" => Self::Destroy(args(matches)?),
            "shutdown" => Self::Shutdown(args(matches)?),
            "reboot" => Self::Reboot(args(matches)?),
            "pause" => Self::Pause(args(matches)?),
            "unpause" => Self::Unpause(args(matches)?),
            "console" => Self::Console(args(matches)?),
            "log" => Self::Log(args(matches)?),
            "pool" => Self::Pool(args(matches)?),
            _ => {
                return Err(
                    chaos(COMMANDS).error(ErrorKind::MissingSubcommand, "a command is missing")
                );
            }
        })
    }
}

/// Reads a command line, the program's name being its first word.
#[inline(never)]
pub(super) fn of_words(
    words: impl Iterator<Item = OsString> + Clone,
) -> Result<Command, clap::Error> {
    // Whoever names a command gets that one only: to describe the others, for help and for
    // suggestions, would take as long as the rest of the start.
    let named = words.clone().nth(1);
    let only = COMMANDS.iter().find(|row| named.as_ref().is_some_and(|name| row.0 == name));
    let rows = only.map_or(COMMANDS, std::slice::from_ref);
    Command::of(chaos(rows).try_get_matches_from(words)?)
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

/// The command line with some of the commands. Each command's own arguments are only made when it
/// is used.
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

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The config file.
    pub(crate) config: PathBuf,
    /// Lines that are added to the config, such as 'memory=16'.
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Make so many guests, named NAME-1, NAME-2, …, with addresses counted up from that of the
    /// config.
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "console",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) count: Option<u32>,
    /// What announces the guest's devices; wins over store= in the config.
    #[arg(long, value_parser = ["noxs", "xenstore"])]
    pub(crate) store: Option<String>,
    /// Make the guest in this process, also if chaosd runs.
    #[arg(long)]
    pub(crate) no_daemon: bool,
    /// Leave the guest paused.
    #[arg(short, long)]
    pub(crate) paused: bool,
    /// Connect to the console before the guest runs; Ctrl-] leaves it. The guest is made in this
    /// process.
    #[arg(short, long, conflicts_with_all = ["json", "paused"])]
    pub(crate) console: bool,
    /// Refuse unknown keys instead of warning about them.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print how long each stage took.
    #[arg(long)]
    pub(crate) timings: bool,
    /// Print JSON; contains the times.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print nothing if all goes well.
    #[arg(short, long, conflicts_with_all = ["json", "timings"])]
    pub(crate) quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShutdownArgs {
    /// Name or domid.
    pub(crate) guest: String,
    /// Wait until the guest has ended, then destroy it.
    #[arg(short, long)]
    pub(crate) wait: bool,
    /// How long the guest may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) timeout: u64,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also list dom0 and the domains of other toolstacks.
    #[arg(short, long)]
    pub(crate) all: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DestroyArgs {
    /// Names or domids.
    #[arg(required = true)]
    pub(crate) guests: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PoolArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) action: Option<PoolAction>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum PoolAction {
    /// Change how many shells of a flavour are kept, until chaosd reads its configuration again.
    Resize {
        /// The flavour's name.
        flavour: String,
        /// The pool is refilled when there are fewer.
        low: u32,
        /// Up to this many.
        high: u32,
    },
    /// Destroy all shells, and keep none until the next resize or until chaosd reads its
    /// configuration again.
    Drain,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GuestArgs {
    /// Name or domid.
    pub(crate) guest: String,
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
        for command in chaos(COMMANDS).get_subcommands() {
            let name = command.get_name();
            let operand = (!["list", "pool"].contains(&name)).then_some("guest");
            let words = ["chaos", name].into_iter().chain(operand);
            let matches = chaos(COMMANDS).try_get_matches_from(words).unwrap();
            let command = Command::of(matches).unwrap();
            let variant = format!("{command:?}").to_lowercase();
            assert!(variant.starts_with(name), "{name} gave {variant}");
        }
    }
}
