//! The arguments.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

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
  chaos list --json                       which guests there are, for programs
  chaos shutdown -w redis                 ask it to end, wait, remove it";

/// Xen toolstack for many small, short-lived guests.
#[derive(Debug, Parser)]
#[command(name = "chaos", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a guest from a config file in the syntax of xl.cfg(5).
    Create(CreateArgs),
    /// List the guests.
    #[command(visible_alias = "ls")]
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Also list dom0 and the domains of other toolstacks.
        #[arg(short, long)]
        all: bool,
    },
    /// Destroy guests at once, without asking them.
    #[command(visible_alias = "rm")]
    Destroy {
        /// Names or domids.
        #[arg(required = true)]
        guests: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask a guest to power off. A guest that has ended stays listed until it is destroyed.
    Shutdown(ShutdownArgs),
    /// Ask a guest to reboot.
    Reboot(ShutdownArgs),
    /// Stop a guest from running.
    Pause {
        /// Name or domid.
        guest: String,
    },
    /// Let a paused guest run.
    Unpause {
        /// Name or domid.
        guest: String,
    },
    /// Connect to a guest's console; Ctrl-] leaves it.
    Console {
        /// Name or domid.
        guest: String,
    },
    /// Print what a guest's console has printed, as far as it is kept.
    Log(LogArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The config file.
    pub(crate) config: PathBuf,
    /// Lines that are added to the config, such as 'memory=16'.
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Leave the guest paused.
    #[arg(short, long)]
    pub(crate) paused: bool,
    /// Connect to the console before the guest runs; Ctrl-] leaves it.
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
pub(crate) struct LogArgs {
    /// Name or domid.
    pub(crate) guest: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }
}
