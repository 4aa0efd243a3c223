// SPDX-License-Identifier: GPL-3.0-or-later
//! Parses command lines with `clap`.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{ArgMatches, FromArgMatches};

use super::args::Command;
use super::commands::{COMMANDS, CommandRow};
use super::guest_args::GuestCommand;
use super::help;
use super::host_args::HostCommand;
use super::xl_verbs;

/// Parses a command line, whose first argument is the program's name.
///
/// # Errors
/// The arguments are wrong, or ask for help.
#[inline(never)]
pub(super) fn parse(
    arguments: impl Iterator<Item = OsString> + Clone,
) -> Result<Command, clap::Error> {
    if arguments.clone().nth(1).is_some_and(|name| name == "help") {
        return parse(as_option(arguments).into_iter());
    }
    // Describe only the command that is named: describing all of them, which only help and
    // suggestions need, takes as long as the rest of the start.
    let named = arguments.clone().nth(1);
    if let Some(why) = named.as_ref().and_then(|name| xl_verbs::why_not(name.to_str()?)) {
        return Err(whole().error(ErrorKind::InvalidSubcommand, why));
    }
    let only = COMMANDS.iter().find(|row| named.as_ref().is_some_and(|name| row.name == name));
    let rows = only.map_or(COMMANDS, std::slice::from_ref);
    command(chaos(rows).try_get_matches_from(arguments)?)
}

/// Returns the arguments of `chaos help [COMMAND]` as those of `chaos [COMMAND] --help`.
#[cold]
fn as_option(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    arguments.remove(1);
    arguments.truncate(2);
    arguments.push("--help".into());
    arguments
}

fn command(mut matches: ArgMatches) -> Result<Command, clap::Error> {
    let (name, mut matches) = matches.remove_subcommand().unwrap_or_default();
    let matches = &mut matches;
    Ok(match name.as_str() {
        "create" => Command::Create(args(matches)?),
        "config" => Command::Config(args(matches)?),
        "list" => Command::List(args(matches)?),
        "destroy" => Command::Destroy(args(matches)?),
        "shutdown" => Command::Shutdown(args(matches)?),
        "reboot" => Command::Reboot(args(matches)?),
        "pause" => Command::Pause(args(matches)?),
        "unpause" => Command::Unpause(args(matches)?),
        "rename" => Command::Rename(args(matches)?),
        "domid" => Command::Domid(args(matches)?),
        "domname" => Command::Domname(args(matches)?),
        "uptime" => Command::Uptime(args(matches)?),
        "console" => Command::Console(args(matches)?),
        "log" => Command::Log(args(matches)?),
        "pool" => Command::Pool(args(matches)?),
        "metrics" => Command::Metrics(args(matches)?),
        "events" => Command::Events(args(matches)?),
        "top" => Command::Top(args(matches)?),
        "network-attach" => Command::NetworkAttach(args(matches)?),
        "network-detach" => Command::NetworkDetach(args(matches)?),
        "network-list" => Command::NetworkList(args(matches)?),
        "block-attach" => Command::BlockAttach(args(matches)?),
        "block-detach" => Command::BlockDetach(args(matches)?),
        "block-list" => Command::BlockList(args(matches)?),
        "dump-core" => Command::Guest(GuestCommand::DumpCore(args(matches)?)),
        "mem-max" => Command::Guest(GuestCommand::MemMax(args(matches)?)),
        "mem-set" => Command::Guest(GuestCommand::MemSet(args(matches)?)),
        "vcpu-set" => Command::Guest(GuestCommand::VcpuSet(args(matches)?)),
        "sysrq" => Command::Guest(GuestCommand::Sysrq(args(matches)?)),
        "vm-list" => Command::Guest(GuestCommand::VmList(args(matches)?)),
        "config-update" => Command::Guest(GuestCommand::ConfigUpdate(args(matches)?)),
        name => Command::Host(host_command(name, matches)?),
    })
}

fn host_command(name: &str, matches: &mut ArgMatches) -> Result<HostCommand, clap::Error> {
    Ok(match name {
        "vcpu-list" => HostCommand::VcpuList(args(matches)?),
        "vcpu-pin" => HostCommand::VcpuPin(args(matches)?),
        "sched-credit" => HostCommand::SchedCredit(args(matches)?),
        "sched-credit2" => HostCommand::SchedCredit2(args(matches)?),
        "cpupool-list" => HostCommand::CpupoolList(args(matches)?),
        "cpupool-create" => HostCommand::CpupoolCreate(args(matches)?),
        "cpupool-destroy" => HostCommand::CpupoolDestroy(args(matches)?),
        "cpupool-rename" => HostCommand::CpupoolRename(args(matches)?),
        "cpupool-cpu-add" => HostCommand::CpupoolCpuAdd(args(matches)?),
        "cpupool-cpu-remove" => HostCommand::CpupoolCpuRemove(args(matches)?),
        "cpupool-migrate" => HostCommand::CpupoolMigrate(args(matches)?),
        "cpupool-numa-split" => HostCommand::CpupoolNumaSplit(args(matches)?),
        "dmesg" => HostCommand::Dmesg(args(matches)?),
        "debug-keys" => HostCommand::DebugKeys(args(matches)?),
        "info" => HostCommand::Info(args(matches)?),
        "trigger" => HostCommand::Trigger(args(matches)?),
        _ => {
            return Err(whole().error(ErrorKind::MissingSubcommand, "a command is missing"));
        }
    })
}

fn args<A: FromArgMatches>(matches: &mut ArgMatches) -> Result<A, clap::Error> {
    A::from_arg_matches_mut(matches)
}

/// Describes the whole command line. The man pages and completions are generated from it (`packages/`).
pub(super) fn whole() -> clap::Command {
    chaos(COMMANDS)
}

/// Describes the command line with some of the commands. The arguments of a command are described
/// only when it is used.
fn chaos(commands: &[CommandRow]) -> clap::Command {
    let mut chaos = clap::Command::new("chaos")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Create and manage many small, short-lived Xen guests")
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg_required_else_help(true);
    if commands.len() > 1 {
        chaos = chaos.after_help(help::CHAOS);
    }
    for row in commands {
        let command = clap::Command::new(row.name)
            .about(row.about)
            .after_help(row.after_help)
            .visible_aliases(row.alias)
            .defer(row.arguments);
        chaos = chaos.subcommand(command);
    }
    chaos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_of_a_command_is_asked_for_as_in_xl() {
        let help = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            parse(arguments.into_iter()).err().map(|error| (error.kind(), error.to_string()))
        };
        for (short, long) in
            [(&["help"][..], &["--help"][..]), (&["help", "list"], &["list", "--help"])]
        {
            let long = help(&[&["chaos"], long].concat());
            assert!(long.as_ref().is_some_and(|(kind, _)| *kind == ErrorKind::DisplayHelp));
            assert_eq!(help(&[&["chaos"], short].concat()), long);
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        chaos(COMMANDS).debug_assert();
    }

    #[test]
    fn each_command_is_parsed() {
        for described in chaos(COMMANDS).get_subcommands() {
            let name = described.get_name();
            let operands: &[&str] = match name {
                "list" | "pool" | "metrics" | "events" | "top" | "uptime" | "dmesg" | "info"
                | "vcpu-list" | "sched-credit" | "sched-credit2" | "cpupool-numa-split"
                | "vm-list" => &[],
                "dump-core" => &["guest", "file"],
                "mem-max" | "mem-set" => &["guest", "64"],
                "vcpu-set" => &["guest", "1"],
                "sysrq" => &["guest", "h"],
                "domname" => &["3"],
                "vcpu-pin" => &["guest", "all", "0-3"],
                "trigger" => &["guest", "nmi"],
                "cpupool-migrate" | "cpupool-rename" | "cpupool-cpu-add" | "cpupool-cpu-remove"
                | "rename" | "network-detach" | "block-detach" => &["guest", "xvda"],
                _ => &["guest"],
            };
            let arguments = ["chaos", name].into_iter().chain(operands.iter().copied());
            let matches = chaos(COMMANDS).try_get_matches_from(arguments).unwrap();
            let command = command(matches).unwrap();
            let variant = match command {
                Command::Host(command) => format!("{command:?}"),
                Command::Guest(command) => format!("{command:?}"),
                command => format!("{command:?}"),
            };
            let variant = variant.to_lowercase();
            assert!(variant.starts_with(&name.replace('-', "")), "{name} was parsed as {variant}");
        }
    }

    #[test]
    fn arguments_of_xl_that_contradict_each_other_are_refused() {
        let parsed = |text: &str| parse(text.split(' ').map(OsString::from));
        for wrong in [
            "chaos sched-credit2 -w 256",
            "chaos sched-credit2 -d web -w 0",
            "chaos sched-credit2 -d web -s",
            "chaos sched-credit2 -d web -p 0",
            "chaos sched-credit2 -r 100",
            "chaos sched-credit2 -s -r 99",
            "chaos sched-credit2 -s -t 30",
            "chaos sched-credit -t 30",
            "chaos sched-credit -s -t 1001",
            "chaos sched-credit -s -m 100001",
            "chaos vcpu-pin web one 0",
            "chaos vcpu-pin web 0",
            "chaos trigger web poke",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
        for right in [
            "chaos sched-credit2 -d web -w512 -c 50",
            "chaos sched-credit2 -s -p 0 -r 0",
            "chaos sched-credit --schedparam --tslice_ms=10 --ratelimit_us 100 -m 5",
            "chaos sched-credit --domain web --weight 1 --cap 0",
            "chaos vcpu-pin web 0 - 0-3,^1",
            "chaos vcpu-pin web all ^0,all -",
            "chaos vcpu-pin -f 0 3 3",
            "chaos trigger web nmi 1",
            "chaos cpupool-create -n name=b cpus=1",
            "chaos cpupool-list -c 0",
            "chaos info -n",
        ] {
            assert!(parsed(right).is_ok(), "{right}");
        }
    }

    #[test]
    fn a_command_of_xl_that_cannot_exist_is_refused_with_the_reason() {
        let parsed = |name: &str| parse(["chaos", name, "x"].into_iter().map(OsString::from));
        let error = parsed("cd-insert").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSubcommand);
        let text = error.to_string();
        assert!(text.contains("chaos cd-insert: a PVH guest has no CD drive"), "{text}");
        assert!(!parsed("no-such-command").unwrap_err().to_string().contains("PVH"));
    }

    #[test]
    fn each_help_has_an_example_of_its_command_and_the_exit_codes() {
        let mut chaos = chaos(COMMANDS);
        for command in chaos.get_subcommands_mut() {
            let example = format!("  chaos {}", command.get_name());
            let help = command.render_help().to_string();
            assert!(help.contains(&example) && help.contains("Exit codes:"), "{help}");
        }
        assert!(chaos.render_help().to_string().contains("Exit codes:"));
    }
}
