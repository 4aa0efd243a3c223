// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos sched-credit` and `sched-credit2`.

use std::fmt::Write as _;

use chaos::cpupools::NamedCpupool;
use chaos::guests::{self, Host, ListedGuest};
use nix::errno::Errno;
use xen::Xen;
use xen::cpupool::Cpupool;
use xen::sched::{CpuShare, Credit2Params, CreditParams, Scheduler};
use xen::units::{CpupoolId, DomId};

use super::chosen;
use super::cpupools::{named, wanted_pool};
use super::failure::Failure;
use super::host_args::{Credit2Args, CreditArgs, ShareArgs};
use super::host_error::HostError;
use super::output::Output;
use super::xl_table::name;

/// The parameters of a cpupool with one of the two schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Params {
    Credit(CreditParams),
    Credit2(Credit2Params),
}

impl Params {
    fn of(xen: &Xen, scheduler: Scheduler, pool: CpupoolId) -> Result<Self, xen::Error> {
        match scheduler {
            Scheduler::Credit => xen.credit_params(pool).map(Self::Credit),
            _ => xen.credit2_params(pool).map(Self::Credit2),
        }
    }

    fn set(self, xen: &Xen, pool: CpupoolId) -> Result<(), xen::Error> {
        match self {
            Self::Credit(params) => xen.set_credit_params(pool, params),
            Self::Credit2(params) => xen.set_credit2_params(pool, params),
        }
    }

    /// Returns the parameters with those that were given replaced.
    fn with(self, changes: Changes) -> Self {
        match self {
            Self::Credit(old) => Self::Credit(CreditParams {
                timeslice_ms: changes.timeslice_ms.unwrap_or(old.timeslice_ms),
                ratelimit_us: changes.ratelimit_us.unwrap_or(old.ratelimit_us),
                migration_delay_us: changes.migration_delay_us.unwrap_or(old.migration_delay_us),
            }),
            Self::Credit2(old) => Self::Credit2(Credit2Params {
                ratelimit_us: changes.ratelimit_us.unwrap_or(old.ratelimit_us),
            }),
        }
    }
}

/// The parameters that were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Changes {
    timeslice_ms: Option<u32>,
    ratelimit_us: Option<u32>,
    migration_delay_us: Option<u32>,
}

/// Runs `chaos sched-credit`.
pub(super) fn credit(args: &CreditArgs, output: &mut Output) -> Result<(), Failure> {
    let changes = Changes {
        timeslice_ms: args.tslice_ms,
        ratelimit_us: args.share.ratelimit_us,
        migration_delay_us: args.migration_delay_us,
    };
    run(Scheduler::Credit, &args.share, changes, output)
}

/// Runs `chaos sched-credit2`.
pub(super) fn credit2(args: &Credit2Args, output: &mut Output) -> Result<(), Failure> {
    let changes = Changes { ratelimit_us: args.share.ratelimit_us, ..Changes::default() };
    run(Scheduler::Credit2, &args.share, changes, output)
}

fn run(
    scheduler: Scheduler,
    args: &ShareArgs,
    changes: Changes,
    output: &mut Output,
) -> Result<(), Failure> {
    let host = Host::open()?;
    if let Some(target) = &args.domain {
        if args.weight.is_some() || args.cap.is_some() {
            return set_share(&host, scheduler, target, args);
        }
        let listed = guests::list(&host, true)?.guests;
        let rows = rows(&host, scheduler, &chosen(&listed, std::slice::from_ref(target))?)?;
        output.text(&shares(&rows));
        return Ok(());
    }
    let pools = named(&host)?;
    if args.schedparam {
        let first = CpupoolId::FIRST.to_string();
        let pool = wanted_pool(&pools, args.cpupool.as_ref().unwrap_or(&first))?;
        if changes != Changes::default() {
            return Ok(set_params(&host.xen, scheduler, pool, changes)?);
        }
        output.text(&params_line(&pool.name, params(&host.xen, scheduler, pool.pool.id)?));
        return Ok(());
    }
    let only = args.cpupool.as_ref().map(|pool| wanted_pool(&pools, pool)).transpose()?;
    let listed = guests::list(&host, true)?.guests;
    for pool in &pools {
        if pool.pool.scheduler != scheduler || only.is_some_and(|only| only != pool) {
            continue;
        }
        let mut members = Vec::new();
        for domain in &listed {
            let Some(info) = &domain.info else { continue };
            if host.xen.cpupool_of(info.domid)? == Some(pool.pool.id) {
                members.push(domain.clone());
            }
        }
        output.text(&params_line(&pool.name, params(&host.xen, scheduler, pool.pool.id)?));
        output.text(&shares(&rows(&host, scheduler, &members)?));
    }
    Ok(())
}

/// Returns the parameters of a cpupool; `None` if it has another scheduler.
fn params(xen: &Xen, scheduler: Scheduler, pool: CpupoolId) -> Result<Option<Params>, xen::Error> {
    match Params::of(xen, scheduler, pool) {
        Ok(params) => Ok(Some(params)),
        Err(error) if error.errno() == Some(Errno::EINVAL) => Ok(None),
        Err(error) => Err(error),
    }
}

fn set_params(
    xen: &Xen,
    scheduler: Scheduler,
    pool: &NamedCpupool,
    changes: Changes,
) -> Result<(), HostError> {
    let (name, id) = (&pool.name, pool.pool.id);
    let Some(old) = params(xen, scheduler, id)? else {
        let found = pool.pool.scheduler.name();
        return Err(HostError::State(format!(
            "cpupool {name} has the scheduler {found}, not {}; use chaos sched-{found}",
            scheduler.name()
        )));
    };
    let new = old.with(changes);
    if let Params::Credit(CreditParams { timeslice_ms, ratelimit_us, .. }) = new
        && ratelimit_us > timeslice_ms.saturating_mul(1000)
    {
        return Err(HostError::Arguments(format!(
            "rate limit {ratelimit_us} us: must be at most the time slice, {timeslice_ms} ms"
        )));
    }
    let doing = format!("set the parameters of cpupool {name}");
    new.set(xen, id).map_err(HostError::operation(doing))
}

/// Returns the line about a cpupool, as xl prints it.
fn params_line(pool: &str, params: Option<Params>) -> String {
    let text = match params {
        None => "[sched params unavailable]".to_owned(),
        Some(Params::Credit(CreditParams { timeslice_ms, ratelimit_us, migration_delay_us })) => {
            format!(
                "tslice={timeslice_ms}ms ratelimit={ratelimit_us}us \
                 migration-delay={migration_delay_us}us"
            )
        }
        Some(Params::Credit2(Credit2Params { ratelimit_us })) => {
            format!("ratelimit={ratelimit_us}us")
        }
    };
    format!("Cpupool {}: {text}\n", chaos::escape::line(pool))
}

/// The share of a domain.
#[derive(Clone, Debug)]
struct ShareRow {
    name: String,
    domid: DomId,
    share: CpuShare,
}

fn rows(
    host: &Host,
    scheduler: Scheduler,
    domains: &[ListedGuest],
) -> Result<Vec<ShareRow>, Failure> {
    let mut rows = Vec::new();
    for domain in domains {
        let Some(info) = &domain.info else { continue };
        let (domid, name) = (info.domid, name(domain));
        match host.xen.cpu_share(domid, scheduler) {
            Ok(share) => rows.push(ShareRow { name, domid, share }),
            // Another process has destroyed the domain since it was listed.
            Err(error) if error.errno() == Some(Errno::ESRCH) => {}
            Err(error) => return Err(refused(host, scheduler, &name, domid, error).into()),
        }
    }
    Ok(rows)
}

/// Returns the table of `xl sched-credit` and `sched-credit2`.
fn shares(rows: &[ShareRow]) -> String {
    let mut text = format!("{:<33} {:>4} {:>6} {:>4}\n", "Name", "ID", "Weight", "Cap");
    for ShareRow { name, domid, share } in rows {
        let (domid, CpuShare { weight, cap }) = (domid.0, share);
        let _ = writeln!(text, "{name:<33} {domid:>4} {weight:>6} {cap:>4}");
    }
    text
}

fn set_share(
    host: &Host,
    scheduler: Scheduler,
    target: &str,
    args: &ShareArgs,
) -> Result<(), Failure> {
    let domid = guests::dom0_or_guest(host, target)?;
    let refused = |error| refused(host, scheduler, target, domid, error);
    let old = host.xen.cpu_share(domid, scheduler).map_err(refused)?;
    let vcpus = host.xen.domain_info(domid)?.and_then(|info| info.max_vcpu_id);
    check_cap(target, args.cap, vcpus.map_or(0, |last| last + 1))?;
    let (weight, cap) = (args.weight.unwrap_or(old.weight), args.cap.unwrap_or(old.cap));
    let share = CpuShare { weight, cap };
    Ok(host.xen.set_cpu_share(domid, scheduler, share).map_err(refused)?)
}

/// Checks that a cap is not above what the vCPUs can use.
fn check_cap(target: &str, cap: Option<u16>, vcpus: u32) -> Result<(), HostError> {
    let most = vcpus.saturating_mul(100);
    match cap {
        Some(cap) if u32::from(cap) > most => Err(HostError::Arguments(format!(
            "cap {cap} of {target}: must be at most {most}, which is 100 for each of its vCPUs"
        ))),
        _ => Ok(()),
    }
}

fn refused(
    host: &Host,
    scheduler: Scheduler,
    name: &str,
    domid: DomId,
    error: xen::Error,
) -> HostError {
    let found = host.xen.cpupool_of(domid).ok().flatten();
    let pools = named(host).unwrap_or_default();
    match pools.iter().find(|named| Some(named.pool.id) == found) {
        Some(NamedCpupool { name: pool, pool: Cpupool { scheduler: other, .. } })
            if *other != scheduler =>
        {
            HostError::State(format!(
                "{name} is in cpupool {pool}, whose scheduler is {found}, not {}; use chaos \
                 sched-{found}",
                scheduler.name(),
                found = other.name(),
            ))
        }
        _ => HostError::operation(format!("show or set the share of {name}"))(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_columns_of_xl() {
        let row = |name: &str, domid, weight, cap| ShareRow {
            name: name.to_owned(),
            domid: DomId(domid),
            share: CpuShare { weight, cap },
        };
        assert_eq!(
            shares(&[row("Domain-0", 0, 256, 0), row("redis", 12, 65535, 150)]),
            "Name                                ID Weight  Cap\n\
             Domain-0                             0    256    0\n\
             redis                               12  65535  150\n"
        );
    }

    #[test]
    fn the_line_about_a_cpupool_is_that_of_xl() {
        let credit = CreditParams { timeslice_ms: 30, ratelimit_us: 1000, migration_delay_us: 0 };
        assert_eq!(
            params_line("Pool-0", Some(Params::Credit(credit))),
            "Cpupool Pool-0: tslice=30ms ratelimit=1000us migration-delay=0us\n"
        );
        let credit2 = Credit2Params { ratelimit_us: 1000 };
        assert_eq!(
            params_line("a\nb", Some(Params::Credit2(credit2))),
            "Cpupool a\\nb: ratelimit=1000us\n"
        );
        assert_eq!(params_line("x", None), "Cpupool x: [sched params unavailable]\n");
    }

    #[test]
    fn parameters_that_are_not_given_stay() {
        let old = CreditParams { timeslice_ms: 30, ratelimit_us: 1000, migration_delay_us: 5 };
        let changes = Changes { timeslice_ms: Some(10), ..Changes::default() };
        let new = Params::Credit(old).with(changes);
        assert_eq!(new, Params::Credit(CreditParams { timeslice_ms: 10, ..old }));
        let old = Credit2Params { ratelimit_us: 1 };
        let changes = Changes { ratelimit_us: Some(0), ..Changes::default() };
        let new = Params::Credit2(old).with(changes);
        assert_eq!(new, Params::Credit2(Credit2Params { ratelimit_us: 0 }));
    }

    #[test]
    fn a_cap_is_at_most_what_the_vcpus_can_use() {
        assert!(check_cap("web", None, 0).is_ok());
        assert!(check_cap("web", Some(200), 2).is_ok());
        let text = check_cap("web", Some(201), 2).unwrap_err().to_string();
        assert!(text.starts_with("cap 201 of web: must be at most 200"), "{text}");
    }
}
