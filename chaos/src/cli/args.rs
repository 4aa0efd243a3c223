// SPDX-License-Identifier: GPL-3.0-or-later
//! The commands and their arguments. Doc comments of fields are help texts.

use std::ffi::OsString;
use std::path::PathBuf;

use super::guest_args::GuestCommand;
use super::host_args::HostCommand;

/// A command with its arguments.
#[derive(Debug)]
pub(crate) enum Command {
    Create(CreateArgs),
    Config(ConfigArgs),
    List(ListArgs),
    Destroy(DestroyArgs),
    Shutdown(ShutdownArgs),
    Reboot(ShutdownArgs),
    Pause(GuestArgs),
    Unpause(GuestArgs),
    Rename(RenameArgs),
    Domid(DomidArgs),
    Domname(DomnameArgs),
    Uptime(UptimeArgs),
    Console(ConsoleArgs),
    Log(LogArgs),
    Pool(PoolArgs),
    Metrics(MetricsArgs),
    Events(EventsArgs),
    Top(TopArgs),
    NetworkAttach(DeviceAttachArgs),
    NetworkDetach(NetworkDetachArgs),
    NetworkList(DeviceListArgs),
    BlockAttach(DeviceAttachArgs),
    BlockDetach(BlockDetachArgs),
    BlockList(DeviceListArgs),
    Guest(GuestCommand),
    Host(HostCommand),
}

/// Seconds that a guest may take for a change of its devices, as in xl.
const DEVICE_TIMEOUT: u64 = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct DeviceAttachArgs {
    /// Name or domid of the guest
    pub(crate) guest: String,
    /// Fields of the device, as in vif= or disk= of a config
    #[arg(value_name = "FIELD")]
    pub(crate) fields: Vec<String>,
    /// Seconds to wait for the guest's answer
    #[arg(long, value_name = "SECONDS", default_value_t = DEVICE_TIMEOUT)]
    pub(crate) timeout: u64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NetworkDetachArgs {
    /// Name or domid of the guest
    pub(crate) guest: String,
    /// Number or MAC address of the vif
    #[arg(value_name = "DEVID|MAC")]
    pub(crate) device: String,
    /// Do not ask the guest, which may still use the vif
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Seconds to wait for the guest's answer
    #[arg(long, value_name = "SECONDS", default_value_t = DEVICE_TIMEOUT)]
    pub(crate) timeout: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BlockDetachArgs {
    /// Name or domid of the guest
    pub(crate) guest: String,
    /// Name of the disk in the guest, such as xvda, or its number
    #[arg(value_name = "VDEV")]
    pub(crate) device: String,
    /// Do not ask the guest, which may still use the disk
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Seconds to wait for the guest's answer
    #[arg(long, value_name = "SECONDS", default_value_t = DEVICE_TIMEOUT)]
    pub(crate) timeout: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeviceListArgs {
    /// Names or domids of the guests
    #[arg(required = true, value_name = "GUEST")]
    pub(crate) guests: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Config file, in the syntax of xl.cfg(5); - for standard input
    pub(crate) config: PathBuf,
    /// Lines to add to the config, such as memory=16; a string needs no quotes
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Create N guests, NAME-1 to NAME-N, with consecutive IP addresses
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "console",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) count: Option<u32>,
    /// Announce the devices in the device page or in XenStore; overrides store= of the config
    #[arg(long, value_parser = ["noxs", "xenstore"])]
    pub(crate) store: Option<String>,
    /// Create the guest in this process, even if chaosd is running
    #[arg(long)]
    pub(crate) no_daemon: bool,
    /// Leave the guest paused
    #[arg(short, long)]
    pub(crate) paused: bool,
    /// Attach to the console before the guest starts (Ctrl-] detaches); implies --no-daemon
    #[arg(short, long, conflicts_with_all = ["json", "paused"])]
    pub(crate) console: bool,
    /// Refuse unknown keys instead of warning about them
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print as JSON what would be created, and create nothing; needs no Xen. This is xl's -n, which is a
    /// number of guests here
    #[arg(long, visible_alias = "dryrun", conflicts_with_all = ["console", "timings"])]
    pub(crate) dry_run: bool,
    /// Print the duration of each stage
    #[arg(long)]
    pub(crate) timings: bool,
    /// Print JSON, with the duration of each stage; if the config is wrong, what and where
    #[arg(long)]
    pub(crate) json: bool,
    /// Print only warnings and errors
    #[arg(short, long, conflicts_with_all = ["json", "timings"])]
    pub(crate) quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// Config file, in the syntax of xl.cfg(5); - for standard input
    pub(crate) config: PathBuf,
    /// Lines to add to the config, such as memory=16; a string needs no quotes
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Refuse unknown keys instead of warning about them
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShutdownArgs {
    /// Name or domid of the guest
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) guest: Option<String>,
    /// All guests of chaos
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Accepted as in xl: a PVH guest has no ACPI power button to fall back on
    #[arg(short = 'F')]
    pub(crate) fallback: bool,
    /// Wait until the guest has shut down, and until it is removed if its config says so
    #[arg(short, long)]
    pub(crate) wait: bool,
    /// Seconds to wait for the guest's answer and, with --wait, for its shutdown
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) timeout: u64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Names or domids of the guests to list; all without one
    #[arg(value_name = "GUEST")]
    pub(crate) guests: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the columns of `xl list`
    #[arg(long, conflicts_with = "json")]
    pub(crate) xl: bool,
    /// Include dom0, chaosd's shells and the domains of other toolstacks
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print the domids and configs of guests as JSON, in the form of `chaos config`
    #[arg(short, long, conflicts_with_all = ["json", "xl"])]
    pub(crate) long: bool,
    /// As --xl, with UUIDs, the codes of shutdown reasons and security labels
    #[arg(short, long, conflicts_with_all = ["json", "long"])]
    pub(crate) verbose: bool,
    /// As --xl, with security labels
    #[arg(short = 'Z', long, conflicts_with_all = ["json", "long"])]
    pub(crate) context: bool,
    /// As --xl, with the cpupools of domains
    #[arg(short, long, conflicts_with_all = ["json", "long"])]
    pub(crate) cpupool: bool,
    /// As --xl, with the NUMA nodes of domains
    #[arg(short, long, conflicts_with_all = ["json", "long"])]
    pub(crate) numa: bool,
}

impl ListArgs {
    /// Returns whether columns are asked for that only the table of xl has.
    pub(crate) fn has_columns(&self) -> bool {
        self.verbose || self.context || self.cpupool || self.numa
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct DestroyArgs {
    /// Names or domids of the guests
    #[arg(required = true, value_name = "GUEST")]
    pub(crate) guests: Vec<String>,
    /// Accepted as in xl; dom0 is never destroyed
    #[arg(short)]
    pub(crate) force: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RenameArgs {
    /// Name or domid of the guest
    pub(crate) guest: String,
    /// Its new name
    #[arg(value_name = "NEW-NAME")]
    pub(crate) name: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DomidArgs {
    /// Name of the guest
    pub(crate) name: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DomnameArgs {
    /// Domid of the guest
    pub(crate) domid: u16,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UptimeArgs {
    /// Names or domids of the guests; dom0 and all guests without one
    #[arg(value_name = "GUEST")]
    pub(crate) guests: Vec<String>,
    /// One line a guest, without seconds
    #[arg(short)]
    pub(crate) short: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConsoleArgs {
    /// Name or domid of the guest
    pub(crate) guest: String,
    /// Number of the console, as in xl: a guest has number 0
    #[arg(short, value_name = "NUMBER", value_parser = ["0"])]
    pub(crate) number: Option<String>,
    /// Type of the console, as in xl: a PVH guest has a PV console
    #[arg(short = 't', value_name = "TYPE", value_parser = ["pv"])]
    pub(crate) kind: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PoolArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) action: Option<PoolAction>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MetricsArgs {
    /// Print the older text format, which promtool check metrics reads
    #[arg(long)]
    pub(crate) text: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TopArgs {
    /// Options of chaos-top, such as -b, -n NUMBER and -d SECONDS
    #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct EventsArgs {
    /// Print one JSON object in each line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum PoolAction {
    /// Change how many shells of a flavour are kept, until chaosd rereads its configuration
    Resize {
        /// Name of the flavour
        flavour: String,
        /// Refill when fewer shells than this are ready
        low: u32,
        /// Refill up to this many shells
        high: u32,
    },
    /// Destroy all shells and prepare none until a resize or until chaosd rereads its configuration
    Drain,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// Name or domid of the guest
    pub(crate) guest: String,
    /// Continue with what the guest prints, until it is destroyed
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GuestArgs {
    /// Name or domid of the guest
    pub(crate) guest: String,
}
