// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos list`, with the options of xl.

use chaos::guests::{self, Host, ListedGuest};
use chaos::records::Record;
use daemon::chain::chain;
use nix::errno::Errno;
use serde::Serialize;
use xen::domain::{DomainInfo, ShutdownReason};

use super::args::ListArgs;
use super::config::ConfigRow;
use super::failure::Failure;
use super::output::Output;
use super::{chosen, cpupools, table, xl_table};
use chaos::cpu_list::shown;

/// Lists guests.
pub(super) fn run(args: &ListArgs, output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    let is_xl = args.xl || args.has_columns();
    // A domain that is named is shown, whatever it is, as in xl.
    let listed = guests::list(&host, args.all || is_xl || !args.guests.is_empty())?;
    let guests = chosen(&listed.guests, &args.guests)?;
    if args.long {
        output.json(&long(&host, &guests)?.iter().map(LongRow::new).collect::<Vec<_>>());
    } else if args.json {
        output.json(&guests);
    } else if is_xl {
        let columns = Columns::of(args, &host)?;
        output.text(&xl_table::guests(&guests, &columns.header(), |info| columns.of_row(info)));
    } else {
        output.text(&table::guests(&guests));
    }
    if let Some(error) = &listed.unserved {
        output.warning(&format!(
            "the guests' consoles, networks and disks stand still: {}",
            chain(error)
        ));
    }
    Ok(())
}

/// Returns the records of the guests that have one.
fn long(host: &Host, guests: &[ListedGuest]) -> Result<Vec<Record>, Failure> {
    let mut records = Vec::new();
    for info in guests.iter().filter_map(|guest| guest.info) {
        // A record that is missing or damaged has no config; the short list says so.
        if let Ok(Some(record)) = host.records.read(info.domid)
            && record.handle == info.handle
        {
            records.push(record);
        }
    }
    Ok(records)
}

/// A guest in the long list: the domid and the config, as xl prints them. The config is that of `chaos
/// config`.
#[derive(Debug, Serialize)]
struct LongRow<'a> {
    domid: u16,
    config: ConfigRow<'a>,
}

impl<'a> LongRow<'a> {
    fn new(record: &'a Record) -> Self {
        Self { domid: record.domid.0, config: ConfigRow::new(&record.config) }
    }
}

/// The columns that `xl list` has on request.
#[derive(Clone, Debug, Default)]
struct Columns {
    /// UUID and reason code.
    verbose: bool,
    /// The label of a security policy.
    label: bool,
    /// The names of cpupools, and the cpupool of each domain.
    cpupools: Option<Vec<(u16, String)>>,
    /// The NUMA nodes of each domain.
    nodes: Option<Vec<(u16, String)>>,
}

impl Columns {
    /// Collects what the columns show.
    fn of(args: &ListArgs, host: &Host) -> Result<Self, Failure> {
        let mut columns =
            Self { verbose: args.verbose, label: args.verbose || args.context, ..Self::default() };
        let domids: Vec<_> = match args.cpupool || args.numa {
            true => host.xen.domain_list(xen::units::DomId::DOM0)?,
            false => Vec::new(),
        };
        if args.cpupool {
            let pools = cpupools::named(host)?;
            let mut rows = Vec::new();
            for domid in domids.iter().map(|info| info.domid) {
                let pool = host.xen.cpupool_of(domid)?;
                let named = pools.iter().find(|named| Some(named.pool.id) == pool);
                rows.push((domid.0, named.map_or_else(String::new, |named| named.name.clone())));
            }
            columns.cpupools = Some(rows);
        }
        if args.numa {
            let last = host.xen.physinfo()?.nodes.saturating_sub(1);
            let mut rows = Vec::new();
            for domid in domids.iter().map(|info| info.domid) {
                match host.xen.node_affinity(domid) {
                    Ok(nodes) => rows.push((domid.0, shown(&nodes, last))),
                    // Another process has destroyed the domain since it was listed.
                    Err(error) if error.errno() == Some(Errno::ESRCH) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            columns.nodes = Some(rows);
        }
        Ok(columns)
    }

    fn header(&self) -> String {
        let mut text = String::new();
        if self.verbose {
            text.push_str("   UUID                            Reason-Code\tSecurity Label");
        } else if self.label {
            text.push_str("   Security Label");
        }
        if self.cpupools.is_some() {
            text.push_str("         Cpupool");
        }
        if self.nodes.is_some() {
            text.push_str(" NODE Affinity");
        }
        text
    }

    fn of_row(&self, info: &DomainInfo) -> String {
        let mut text = String::new();
        if self.verbose {
            let reason = info.state.shutdown.map(|reason| format!("{:x}", code(reason)));
            let reason = reason.unwrap_or_else(|| NONE.to_owned());
            text.push_str(&format!(" {} {reason:>8}", info.handle));
        }
        if self.label {
            text.push_str(&format!(" {NONE:>16}"));
        }
        let of_domain = |rows: &Vec<(u16, String)>| {
            let row = rows.iter().find(|(domid, _)| *domid == info.domid.0);
            row.map_or_else(String::new, |(_, text)| text.clone())
        };
        if let Some(rows) = &self.cpupools {
            text.push_str(&format!("{:>16}", of_domain(rows)));
        }
        if let Some(rows) = &self.nodes {
            text.push_str(&format!(" {}", of_domain(rows)));
        }
        text
    }
}

/// What xl prints for a value that does not exist. No domain has a label: chaos supports no security
/// policy, which Debian's Xen is built without.
const NONE: &str = "-";

/// Returns the number of a reason (`SHUTDOWN_*`).
fn code(reason: ShutdownReason) -> u8 {
    match reason {
        ShutdownReason::Poweroff => 0,
        ShutdownReason::Reboot => 1,
        ShutdownReason::Suspend => 2,
        ShutdownReason::Crash => 3,
        ShutdownReason::Watchdog => 4,
        ShutdownReason::SoftReset => 5,
        ShutdownReason::Other(code) => code,
    }
}
