// SPDX-License-Identifier: GPL-3.0-or-later
//! The commands for CPUs, cpupools and the machine, and their arguments, which are those of xl. Doc
//! comments of fields are help texts.

use std::path::PathBuf;

/// A command with its arguments.
#[derive(Debug)]
pub(crate) enum HostCommand {
    VcpuList(VcpuListArgs),
    VcpuPin(VcpuPinArgs),
    SchedCredit(CreditArgs),
    SchedCredit2(Credit2Args),
    CpupoolList(CpupoolListArgs),
    CpupoolCreate(CpupoolCreateArgs),
    CpupoolDestroy(CpupoolArgs),
    CpupoolRename(CpupoolRenameArgs),
    CpupoolCpuAdd(CpupoolCpuArgs),
    CpupoolCpuRemove(CpupoolCpuArgs),
    CpupoolMigrate(CpupoolMigrateArgs),
    CpupoolNumaSplit(NoArgs),
    Dmesg(DmesgArgs),
    DebugKeys(DebugKeysArgs),
    Info(InfoArgs),
    Trigger(TriggerArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct NoArgs {}

#[derive(Debug, clap::Args)]
pub(crate) struct VcpuListArgs {
    /// Names or domids of the domains; all without one
    #[arg(value_name = "GUEST")]
    pub(crate) guests: Vec<String>,
    #[command(flatten)]
    pub(crate) columns: XlArgs,
}

// A doc comment would replace the description of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct XlArgs {
    /// Accepted as by chaos list: the output is that of xl also without it
    #[arg(long)]
    pub(crate) xl: bool,
}

/// The vCPUs that are pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VcpuChoice {
    All,
    One(u32),
}

fn vcpu_choice(text: &str) -> Result<VcpuChoice, String> {
    match text {
        "all" => Ok(VcpuChoice::All),
        _ => text.parse().map(VcpuChoice::One).map_err(|_| "must be a number or all".to_owned()),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct VcpuPinArgs {
    /// Name or domid of the guest; 0 for dom0
    pub(crate) guest: String,
    /// Number of the vCPU, or all
    #[arg(value_parser = vcpu_choice)]
    pub(crate) vcpu: VcpuChoice,
    /// The CPUs that it may run on, such as 0-3,^1, all or node:0; - to leave them as they are
    #[arg(value_name = "CPUS")]
    pub(crate) hard: String,
    /// The CPUs that it should run on if one of them is free; - to leave them as they are
    #[arg(value_name = "SOFT-CPUS", default_value = "-", hide_default_value = true)]
    pub(crate) soft: String,
    /// Undo a pinning by the guest's kernel first
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Accepted as in xl: chaos has no such masks
    #[arg(short, long = "ignore-global-affinity-masks")]
    pub(crate) ignore_masks: bool,
}

// Arguments of both schedulers. A doc comment would replace the description of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct ShareArgs {
    /// Name or domid of the domain
    #[arg(short, long, value_name = "GUEST")]
    pub(crate) domain: Option<String>,
    /// Its part of the CPU time, in relation to other weights; 256 unless it was changed
    #[arg(short, long, requires = "domain", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) weight: Option<u16>,
    /// The most CPU time it gets, in percent of one CPU; 0 for no limit
    #[arg(short, long, requires = "domain")]
    pub(crate) cap: Option<u16>,
    /// Show or set the parameters of a cpupool, Pool-0 without -p
    #[arg(short = 's', long = "schedparam", conflicts_with = "domain")]
    pub(crate) schedparam: bool,
    /// How long a vCPU runs before another interrupts it, in microseconds: 100 to 500000, or 0
    #[arg(short, long = "ratelimit_us", value_name = "US", requires = "schedparam",
          value_parser = ratelimit)]
    pub(crate) ratelimit_us: Option<u32>,
    /// Only this cpupool
    #[arg(short = 'p', long, value_name = "CPUPOOL", conflicts_with = "domain")]
    pub(crate) cpupool: Option<String>,
}

fn ratelimit(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|us| matches!(us, 0 | 100..=500_000));
    number.ok_or_else(|| "must be 100 to 500000, or 0 for no limit".to_owned())
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreditArgs {
    #[command(flatten)]
    pub(crate) share: ShareArgs,
    /// How long a vCPU runs before the next one, in milliseconds: 1 to 1000
    #[arg(short, long = "tslice_ms", value_name = "MS", requires = "schedparam",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) tslice_ms: Option<u32>,
    /// How long a vCPU stays on its CPU after it has run, in microseconds: 0 to 100000
    #[arg(short, long = "migration_delay_us", value_name = "US", requires = "schedparam",
          value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) migration_delay_us: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Credit2Args {
    #[command(flatten)]
    pub(crate) share: ShareArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CpupoolListArgs {
    /// Name or number of a cpupool; all without one
    #[arg(value_name = "CPUPOOL")]
    pub(crate) pool: Option<String>,
    /// List the CPUs of each
    #[arg(short, long)]
    pub(crate) cpus: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CpupoolCreateArgs {
    /// Config file, in the syntax of xlcpupool.cfg(5), and lines to add to it, such as cpus=2-3
    #[arg(value_name = "CONFIG|KEY=VALUE")]
    pub(crate) arguments: Vec<String>,
    /// Config file
    #[arg(short = 'f', long = "defconfig", value_name = "CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Print what would be created, and create nothing
    #[arg(short = 'n', long = "dryrun", visible_alias = "dry-run")]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CpupoolArgs {
    /// Name or number of the cpupool
    #[arg(value_name = "CPUPOOL")]
    pub(crate) pool: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CpupoolRenameArgs {
    /// Name or number of the cpupool
    #[arg(value_name = "CPUPOOL")]
    pub(crate) pool: String,
    /// Its new name
    #[arg(value_name = "NEW-NAME")]
    pub(crate) name: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CpupoolCpuArgs {
    /// Name or number of the cpupool
    #[arg(value_name = "CPUPOOL")]
    pub(crate) pool: String,
    /// The CPUs, such as 3, 2-3, node:1 or all
    pub(crate) cpus: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CpupoolMigrateArgs {
    /// Name or domid of the guest
    pub(crate) guest: String,
    /// Name or number of the cpupool
    #[arg(value_name = "CPUPOOL")]
    pub(crate) pool: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DmesgArgs {
    /// Clear the log after it was read
    #[arg(short, long)]
    pub(crate) clear: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DebugKeysArgs {
    /// The keys; h lists all of them in Xen's log
    pub(crate) keys: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InfoArgs {
    /// Print only the values of the keys that begin so
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Also list the CPUs, the NUMA nodes and the nodes of PCI devices; NAME has no effect then
    #[arg(short, long)]
    pub(crate) numa: bool,
    #[command(flatten)]
    pub(crate) columns: XlArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TriggerArgs {
    /// Name or domid of the guest; 0 for dom0
    pub(crate) guest: String,
    /// The trigger
    #[arg(value_name = "TRIGGER",
          value_parser = ["nmi", "reset", "init", "power", "sleep", "s3resume"])]
    pub(crate) trigger: String,
    /// Number of the vCPU
    #[arg(default_value_t = 0)]
    pub(crate) vcpu: u32,
}
