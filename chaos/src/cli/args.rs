//! What can be asked for.

use std::path::PathBuf;

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
