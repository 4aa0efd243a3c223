// SPDX-License-Identifier: GPL-3.0-or-later
//! Parses command lines with `clap`.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args as _, FromArgMatches};

use super::args::{
    BlockDetachArgs, Command, ConfigArgs, ConsoleArgs, CreateArgs, DestroyArgs, DeviceAttachArgs,
    DeviceListArgs, DomidArgs, DomnameArgs, EventsArgs, GuestArgs, ListArgs, LogArgs, MetricsArgs,
    NetworkDetachArgs, PoolArgs, RenameArgs, ShutdownArgs, TopArgs, UptimeArgs,
};
use super::guest_args::{
    ConfigUpdateArgs, DumpCoreArgs, GuestCommand, MemMaxArgs, MemSetArgs, SysrqArgs, VcpuSetArgs,
};
use super::guest_help;
use super::help;
use super::host_args::{
    CpupoolArgs, CpupoolCpuArgs, CpupoolCreateArgs, CpupoolListArgs, CpupoolMigrateArgs,
    CpupoolRenameArgs, Credit2Args, CreditArgs, DebugKeysArgs, DmesgArgs, HostCommand, InfoArgs,
    NoArgs, TriggerArgs, VcpuListArgs, VcpuPinArgs,
};
use super::host_help;
use super::xl_verbs;

/// Parses a command line, whose first argument is the program's name.
///
/// # Errors
/// The arguments are wrong, or ask for help.
#[inline(never)]
pub(super) fn parse(
    arguments: impl Iterator<Item = OsString> + Clone,
) -> Result<Command, clap::Error> {
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

/// How a command is described.
struct CommandRow {
    name: &'static str,
    alias: Option<&'static str>,
    about: &'static str,
    /// What help prints below the arguments.
    after_help: &'static str,
    arguments: fn(clap::Command) -> clap::Command,
}

const COMMANDS: &[CommandRow] = &[
    CommandRow {
        name: "create",
        alias: None,
        about: "Create a guest from a config",
        after_help: help::CREATE,
        arguments: CreateArgs::augment_args,
    },
    CommandRow {
        name: "config",
        alias: None,
        about: "Print a config as chaos understands it, as JSON",
        after_help: help::CONFIG,
        arguments: ConfigArgs::augment_args,
    },
    CommandRow {
        name: "list",
        alias: Some("ls"),
        about: "List guests",
        after_help: help::LIST,
        arguments: ListArgs::augment_args,
    },
    CommandRow {
        name: "destroy",
        alias: Some("rm"),
        about: "Destroy one or more guests at once",
        after_help: help::DESTROY,
        arguments: DestroyArgs::augment_args,
    },
    CommandRow {
        name: "shutdown",
        alias: None,
        about: "Ask a guest to power off",
        after_help: help::SHUTDOWN,
        arguments: ShutdownArgs::augment_args,
    },
    CommandRow {
        name: "reboot",
        alias: None,
        about: "Ask a guest to reboot",
        after_help: help::REBOOT,
        arguments: ShutdownArgs::augment_args,
    },
    CommandRow {
        name: "pause",
        alias: None,
        about: "Pause a guest",
        after_help: help::PAUSE,
        arguments: GuestArgs::augment_args,
    },
    CommandRow {
        name: "unpause",
        alias: None,
        about: "Unpause a guest",
        after_help: help::UNPAUSE,
        arguments: GuestArgs::augment_args,
    },
    CommandRow {
        name: "rename",
        alias: None,
        about: "Give a guest another name",
        after_help: help::RENAME,
        arguments: RenameArgs::augment_args,
    },
    CommandRow {
        name: "domid",
        alias: None,
        about: "Print the domid of a guest",
        after_help: help::DOMID,
        arguments: DomidArgs::augment_args,
    },
    CommandRow {
        name: "domname",
        alias: None,
        about: "Print the name of a guest",
        after_help: help::DOMNAME,
        arguments: DomnameArgs::augment_args,
    },
    CommandRow {
        name: "uptime",
        alias: None,
        about: "Print how long guests have existed",
        after_help: help::UPTIME,
        arguments: UptimeArgs::augment_args,
    },
    CommandRow {
        name: "console",
        alias: None,
        about: "Attach to a guest's console",
        after_help: help::CONSOLE,
        arguments: ConsoleArgs::augment_args,
    },
    CommandRow {
        name: "log",
        alias: None,
        about: "Print the console output of a guest",
        after_help: help::LOG,
        arguments: LogArgs::augment_args,
    },
    CommandRow {
        name: "pool",
        alias: None,
        about: "Show or change chaosd's pool of shells",
        after_help: help::POOL,
        arguments: PoolArgs::augment_args,
    },
    CommandRow {
        name: "metrics",
        alias: None,
        about: "Print chaosd's metrics of all guests",
        after_help: help::METRICS,
        arguments: MetricsArgs::augment_args,
    },
    CommandRow {
        name: "events",
        alias: None,
        about: "Print what happens to guests, as it happens",
        after_help: help::EVENTS,
        arguments: EventsArgs::augment_args,
    },
    CommandRow {
        name: "top",
        alias: None,
        about: "Show what guests use, in a live table",
        after_help: help::TOP,
        arguments: TopArgs::augment_args,
    },
    CommandRow {
        name: "network-attach",
        alias: None,
        about: "Add a network interface to a running guest",
        after_help: help::NETWORK_ATTACH,
        arguments: DeviceAttachArgs::augment_args,
    },
    CommandRow {
        name: "network-detach",
        alias: None,
        about: "Remove a network interface from a running guest",
        after_help: help::NETWORK_DETACH,
        arguments: NetworkDetachArgs::augment_args,
    },
    CommandRow {
        name: "network-list",
        alias: None,
        about: "List the network interfaces of guests",
        after_help: help::NETWORK_LIST,
        arguments: DeviceListArgs::augment_args,
    },
    CommandRow {
        name: "block-attach",
        alias: None,
        about: "Add a disk to a running guest",
        after_help: help::BLOCK_ATTACH,
        arguments: DeviceAttachArgs::augment_args,
    },
    CommandRow {
        name: "block-detach",
        alias: None,
        about: "Remove a disk from a running guest",
        after_help: help::BLOCK_DETACH,
        arguments: BlockDetachArgs::augment_args,
    },
    CommandRow {
        name: "block-list",
        alias: None,
        about: "List the disks of guests",
        after_help: help::BLOCK_LIST,
        arguments: DeviceListArgs::augment_args,
    },
    CommandRow {
        name: "dump-core",
        alias: None,
        about: "Write a core file of a guest, for gdb",
        after_help: guest_help::DUMP_CORE,
        arguments: DumpCoreArgs::augment_args,
    },
    CommandRow {
        name: "mem-max",
        alias: None,
        about: "Limit the memory that a guest may have",
        after_help: guest_help::MEM_MAX,
        arguments: MemMaxArgs::augment_args,
    },
    CommandRow {
        name: "mem-set",
        alias: None,
        about: "Set the memory that a guest is to have",
        after_help: guest_help::MEM_SET,
        arguments: MemSetArgs::augment_args,
    },
    CommandRow {
        name: "vcpu-set",
        alias: None,
        about: "Set how many of its vCPUs a guest is to use",
        after_help: guest_help::VCPU_SET,
        arguments: VcpuSetArgs::augment_args,
    },
    CommandRow {
        name: "sysrq",
        alias: None,
        about: "Send a magic SysRq key to a Linux guest",
        after_help: guest_help::SYSRQ,
        arguments: SysrqArgs::augment_args,
    },
    CommandRow {
        name: "vm-list",
        alias: None,
        about: "List the UUIDs of domains",
        after_help: guest_help::VM_LIST,
        arguments: NoArgs::augment_args,
    },
    CommandRow {
        name: "config-update",
        alias: None,
        about: "Replace the config that a guest is restarted with",
        after_help: guest_help::CONFIG_UPDATE,
        arguments: ConfigUpdateArgs::augment_args,
    },
    CommandRow {
        name: "vcpu-list",
        alias: None,
        about: "List the vCPUs of domains, and where they may run",
        after_help: host_help::VCPU_LIST,
        arguments: VcpuListArgs::augment_args,
    },
    CommandRow {
        name: "vcpu-pin",
        alias: None,
        about: "Set the CPUs that the vCPUs of a guest may use",
        after_help: host_help::VCPU_PIN,
        arguments: VcpuPinArgs::augment_args,
    },
    CommandRow {
        name: "sched-credit",
        alias: None,
        about: "Show or set weights, caps and parameters of the scheduler credit",
        after_help: host_help::SCHED_CREDIT,
        arguments: CreditArgs::augment_args,
    },
    CommandRow {
        name: "sched-credit2",
        alias: None,
        about: "Show or set weights, caps and parameters of the scheduler credit2",
        after_help: host_help::SCHED_CREDIT2,
        arguments: Credit2Args::augment_args,
    },
    CommandRow {
        name: "cpupool-list",
        alias: None,
        about: "List cpupools",
        after_help: host_help::CPUPOOL_LIST,
        arguments: CpupoolListArgs::augment_args,
    },
    CommandRow {
        name: "cpupool-create",
        alias: None,
        about: "Create a cpupool",
        after_help: host_help::CPUPOOL_CREATE,
        arguments: CpupoolCreateArgs::augment_args,
    },
    CommandRow {
        name: "cpupool-destroy",
        alias: None,
        about: "Destroy a cpupool",
        after_help: host_help::CPUPOOL_DESTROY,
        arguments: CpupoolArgs::augment_args,
    },
    CommandRow {
        name: "cpupool-rename",
        alias: None,
        about: "Give a cpupool another name",
        after_help: host_help::CPUPOOL_RENAME,
        arguments: CpupoolRenameArgs::augment_args,
    },
    CommandRow {
        name: "cpupool-cpu-add",
        alias: None,
        about: "Add CPUs to a cpupool",
        after_help: host_help::CPUPOOL_CPU_ADD,
        arguments: CpupoolCpuArgs::augment_args,
    },
    CommandRow {
        name: "cpupool-cpu-remove",
        alias: None,
        about: "Remove CPUs from a cpupool",
        after_help: host_help::CPUPOOL_CPU_REMOVE,
        arguments: CpupoolCpuArgs::augment_args,
    },
    CommandRow {
        name: "cpupool-migrate",
        alias: None,
        about: "Move a guest to a cpupool",
        after_help: host_help::CPUPOOL_MIGRATE,
        arguments: CpupoolMigrateArgs::augment_args,
    },
    CommandRow {
        name: "cpupool-numa-split",
        alias: None,
        about: "Split the machine into a cpupool for each NUMA node",
        after_help: host_help::CPUPOOL_NUMA_SPLIT,
        arguments: NoArgs::augment_args,
    },
    CommandRow {
        name: "dmesg",
        alias: None,
        about: "Print Xen's log",
        after_help: host_help::DMESG,
        arguments: DmesgArgs::augment_args,
    },
    CommandRow {
        name: "debug-keys",
        alias: None,
        about: "Send debug keys to Xen",
        after_help: host_help::DEBUG_KEYS,
        arguments: DebugKeysArgs::augment_args,
    },
    CommandRow {
        name: "info",
        alias: None,
        about: "Print what is known of the machine and of Xen",
        after_help: host_help::INFO,
        arguments: InfoArgs::augment_args,
    },
    CommandRow {
        name: "trigger",
        alias: None,
        about: "Raise an event in a guest",
        after_help: host_help::TRIGGER,
        arguments: TriggerArgs::augment_args,
    },
];

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
