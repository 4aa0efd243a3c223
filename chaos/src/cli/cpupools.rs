// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos cpupool-list`, `-create`, `-destroy`, `-rename`, `-cpu-add`, `-cpu-remove`, `-migrate` and
//! `-numa-split`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use chaos::config::{CpupoolConfig, parse_cpupool};
use chaos::cpupools::{self, NamedCpupool, check_name};
use chaos::escape;
use chaos::guests::{self, Host, LifecycleError};
use chaos::handle::new_handle;
use nix::errno::Errno;
use xen::Xen;
use xen::cpu_map::CpuMap;
use xen::sched::Scheduler;
use xen::units::CpupoolId;

use super::failure::Failure;
use super::file_and_lines::file_and_lines;
use super::host_args::{
    CpupoolArgs, CpupoolCpuArgs, CpupoolCreateArgs, CpupoolListArgs, CpupoolMigrateArgs,
    CpupoolRenameArgs,
};
use super::host_error::HostError;
use super::output::Output;
use chaos::cpu_list::Machine;

/// Returns the cpupools with their names.
pub(super) fn named(host: &Host) -> Result<Vec<NamedCpupool>, HostError> {
    Ok(cpupools::with_names(&host.xenstored, host.xen.cpupools()?)?)
}

/// Returns the cpupool with a name or number.
pub(super) fn wanted_pool<'a>(
    pools: &'a [NamedCpupool],
    wanted: &str,
) -> Result<&'a NamedCpupool, HostError> {
    cpupools::find(pools, wanted).ok_or_else(|| {
        HostError::Arguments(format!("there is no cpupool {wanted}; see chaos cpupool-list"))
    })
}

/// Lists cpupools.
pub(super) fn list(args: &CpupoolListArgs, output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    let mut pools = named(&host)?;
    if let Some(wanted) = &args.pool {
        pools = vec![wanted_pool(&pools, wanted)?.clone()];
    }
    output.text(&table(&pools, args.cpus));
    Ok(())
}

/// Returns the table of `xl cpupool-list`; with `cpus`, that of `xl cpupool-list -c`.
fn table(pools: &[NamedCpupool], cpus: bool) -> String {
    let columns = if cpus { "CPU list" } else { "CPUs   Sched     Active   Domain count" };
    let mut text = format!("{:<19}{columns}\n", "Name");
    for NamedCpupool { name, pool } in pools {
        let name = escape::line(name);
        let _ = if cpus {
            let numbers: Vec<String> = pool.cpus.iter().map(|cpu| cpu.to_string()).collect();
            writeln!(text, "{name:<19}{}", numbers.join(","))
        } else {
            let (count, scheduler) = (pool.cpus.len(), pool.scheduler.name());
            writeln!(text, "{name:<19}{count:>3} {scheduler:>9}       y       {:>4}", pool.domains)
        };
    }
    text
}

/// Creates a cpupool.
pub(super) fn create(args: &CpupoolCreateArgs, output: &mut Output) -> Result<(), Failure> {
    let (path, overrides) = file_and_lines(&args.arguments, args.config.as_deref())?;
    let config = parse_cpupool(path.as_deref(), &overrides)?;
    let host = Host::open()?;
    let pools = named(&host)?;
    let name = new_name(&config, path.as_deref())?;
    check(&name)?;
    check_unused(&pools, &name)?;
    let scheduler = match config.scheduler {
        Some(scheduler) => scheduler,
        None => host.xen.scheduler()?,
    };
    let cpus = free_cpus(&host.xen, &pools, &config)?;
    let source = path.map_or_else(|| "command line".to_owned(), |path| path.display().to_string());
    let report = |name: &str| report(&source, name, scheduler, cpus.len());
    if args.dry_run {
        output.text(&report(&name));
        return Ok(());
    }
    let id = create_with(&host.xen, scheduler, &cpus)?;
    let uuid = new_handle().map_err(LifecycleError::Process)?;
    let name = match cpupools::introduce(&host.xenstored, id, &name, uuid) {
        Ok(()) => name,
        Err(error) => {
            let number = cpupools::default_name(id);
            let why = daemon::chain::chain(&error);
            output.warning(&format!("cpupool {number} cannot get the name {name}: {why}"));
            number
        }
    };
    output.text(&report(&name));
    Ok(())
}

/// Returns the name of a new cpupool: that of its config, or that of the file.
fn new_name(config: &CpupoolConfig, path: Option<&Path>) -> Result<String, HostError> {
    let of_file = || Some(path?.file_name()?.to_string_lossy().into_owned());
    config.name.clone().or_else(of_file).ok_or_else(|| {
        HostError::Arguments("a cpupool needs a name; add one, such as name=batch".to_owned())
    })
}

fn check(name: &str) -> Result<(), HostError> {
    check_name(name).map_err(|source| HostError::CpupoolName { name: name.to_owned(), source })
}

fn check_unused(pools: &[NamedCpupool], name: &str) -> Result<(), HostError> {
    match pools.iter().find(|named| named.name == name) {
        None => Ok(()),
        Some(named) => Err(HostError::Arguments(format!(
            "cpupool name {name} is in use by cpupool {}; choose another name",
            named.pool.id
        ))),
    }
}

/// Returns the CPUs of a new cpupool.
fn free_cpus(
    xen: &Xen,
    pools: &[NamedCpupool],
    config: &CpupoolConfig,
) -> Result<CpuMap, HostError> {
    let (machine, free) = (Machine::of(xen)?, xen.free_cpus()?);
    match (&config.nodes, &config.cpus) {
        (Some(nodes), _) => {
            let all: CpuMap = nodes.iter().flat_map(|node| machine.node(*node)).collect();
            let cpus = all.intersection(&free);
            match cpus.is_empty() {
                false => Ok(cpus),
                true => Err(HostError::State(format!(
                    "none of the nodes {nodes:?} has a free CPU; remove some from a cpupool: chaos \
                     cpupool-cpu-remove"
                ))),
            }
        }
        (None, Some(list)) => {
            let cpus = machine.parse(list)?;
            check_free(pools, &cpus, &free)?;
            Ok(cpus)
        }
        (None, None) => Ok(CpuMap::new()),
    }
}

/// Checks that CPUs are in no cpupool.
fn check_free(pools: &[NamedCpupool], cpus: &CpuMap, free: &CpuMap) -> Result<(), HostError> {
    let Some(cpu) = cpus.iter().find(|cpu| !free.contains(*cpu)) else { return Ok(()) };
    let message = match pools.iter().find(|named| named.pool.cpus.contains(cpu)) {
        Some(NamedCpupool { name, .. }) => format!(
            "CPU {cpu} is in cpupool {name}; remove it first: chaos cpupool-cpu-remove {name} {cpu}"
        ),
        None => format!("CPU {cpu} is offline, or still being removed from a cpupool"),
    };
    Err(HostError::State(message))
}

/// Creates a cpupool with CPUs that are free. Leaves nothing if that fails.
fn create_with(xen: &Xen, scheduler: Scheduler, cpus: &CpuMap) -> Result<CpupoolId, HostError> {
    let doing = format!("create a cpupool with the scheduler {}", scheduler.name());
    let id = xen.create_cpupool(scheduler).map_err(HostError::operation(doing))?;
    let Err(error) = add_all(xen, id, cpus) else { return Ok(id) };
    // What cannot be undone is visible in cpupool-list.
    let _ = xen
        .cpupool(id)
        .map(|pool| pool.map(|pool| pool.cpus.iter().try_for_each(|cpu| xen.remove_cpu(id, cpu))));
    let _ = xen.destroy_cpupool(id);
    Err(error)
}

/// Returns what xl prints about a new cpupool.
fn report(source: &str, name: &str, scheduler: Scheduler, cpus: usize) -> String {
    format!(
        "Using config file \"{}\"\ncpupool name:   {}\nscheduler:      {}\nnumber of cpus: {cpus}\n",
        escape::line(source),
        escape::line(name),
        scheduler.name()
    )
}

/// Destroys a cpupool without domains. Its CPUs are free then.
pub(super) fn destroy(args: &CpupoolArgs, output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    let pools = named(&host)?;
    let NamedCpupool { name, pool } = wanted_pool(&pools, &args.pool)?;
    if pool.domains > 0 {
        return Err(HostError::State(format!(
            "cpupool {name} has {} domains; {}",
            pool.domains,
            match pool.id {
                CpupoolId::FIRST => "dom0 stays in it, so it cannot be destroyed",
                _ => "move them first: chaos cpupool-migrate",
            }
        ))
        .into());
    }
    remove_all(&host.xen, pool.id, name, &pool.cpus)?;
    let doing = format!("destroy cpupool {name}");
    host.xen.destroy_cpupool(pool.id).map_err(HostError::operation(doing))?;
    match cpupools::forget(&host.xenstored, pool.id) {
        Ok(()) => {}
        Err(error) if error.is_absent() => {}
        Err(error) => output.warning(&format!(
            "cannot remove the name of the cpupool: {}",
            daemon::chain::chain(&error)
        )),
    }
    Ok(())
}

/// Renames a cpupool.
pub(super) fn rename(args: &CpupoolRenameArgs) -> Result<(), Failure> {
    check(&args.name)?;
    let host = Host::open()?;
    let pools = named(&host)?;
    let pool = wanted_pool(&pools, &args.pool)?;
    if pool.name != args.name {
        check_unused(&pools, &args.name)?;
    }
    Ok(store_name(&host, pool.pool.id, &pool.name, &args.name)?)
}

fn store_name(host: &Host, id: CpupoolId, old: &str, new: &str) -> Result<(), HostError> {
    cpupools::rename(&host.xenstored, id, new)
        .map_err(|source| HostError::Store { doing: format!("rename cpupool {old}"), source })
}

/// Adds CPUs to a cpupool. `all` are those that are free.
pub(super) fn add_cpus(args: &CpupoolCpuArgs) -> Result<(), Failure> {
    let host = Host::open()?;
    let pools = named(&host)?;
    let pool = wanted_pool(&pools, &args.pool)?;
    let free = host.xen.free_cpus()?;
    let cpus = match args.cpus.as_str() {
        "all" => free,
        list => {
            let cpus = listed_cpus(&host.xen, list)?;
            check_free(&pools, &cpus, &free)?;
            cpus
        }
    };
    Ok(add_all(&host.xen, pool.pool.id, &cpus)?)
}

fn listed_cpus(xen: &Xen, list: &str) -> Result<CpuMap, HostError> {
    Ok(Machine::of(xen)?.parse(list)?)
}

fn add_all(xen: &Xen, id: CpupoolId, cpus: &CpuMap) -> Result<(), HostError> {
    for cpu in cpus.iter() {
        let doing = format!("add CPU {cpu} to cpupool {id}");
        xen.add_cpu(id, cpu).map_err(HostError::operation(doing))?;
    }
    Ok(())
}

/// Removes CPUs from a cpupool. `all` are those that it has.
pub(super) fn remove_cpus(args: &CpupoolCpuArgs) -> Result<(), Failure> {
    let host = Host::open()?;
    let pools = named(&host)?;
    let NamedCpupool { name, pool } = wanted_pool(&pools, &args.pool)?;
    let cpus = match args.cpus.as_str() {
        "all" => pool.cpus.clone(),
        list => listed_cpus(&host.xen, list)?,
    };
    if let Some(cpu) = cpus.iter().find(|cpu| !pool.cpus.contains(*cpu)) {
        let message = format!("CPU {cpu} is not in cpupool {name}, which has {}", pool.cpus);
        return Err(HostError::State(message).into());
    }
    Ok(remove_all(&host.xen, pool.id, name, &cpus)?)
}

fn remove_all(xen: &Xen, id: CpupoolId, name: &str, cpus: &CpuMap) -> Result<(), HostError> {
    for cpu in cpus.iter() {
        xen.remove_cpu(id, cpu).map_err(|error| {
            let hint = match error.errno() {
                Some(Errno::EBUSY) => ", because it is the last CPU of a cpupool with domains",
                Some(Errno::EINVAL) if id == CpupoolId::FIRST && cpu == 0 => {
                    ", where it always stays"
                }
                Some(Errno::EAGAIN | Errno::EADDRINUSE) => {
                    "; it is half removed: try again, or add it again with chaos cpupool-cpu-add"
                }
                _ => "",
            };
            HostError::operation(format!("remove CPU {cpu} from cpupool {name}{hint}"))(error)
        })?;
    }
    Ok(())
}

/// Moves a guest to a cpupool.
pub(super) fn migrate(args: &CpupoolMigrateArgs) -> Result<(), Failure> {
    let host = Host::open()?;
    let domid = guests::dom0_or_guest(&host, &args.guest)?;
    let pools = named(&host)?;
    let NamedCpupool { name, pool } = wanted_pool(&pools, &args.pool)?;
    if pool.cpus.is_empty() {
        return Err(HostError::State(format!(
            "cpupool {name} has no CPUs; add one first: chaos cpupool-cpu-add {name} CPU"
        ))
        .into());
    }
    let doing = format!("move {} to cpupool {name}", args.guest);
    Ok(host.xen.move_to_cpupool(domid, pool.id).map_err(HostError::operation(doing))?)
}

/// Splits the machine into a cpupool for each NUMA node.
pub(super) fn numa_split(output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    let pools = named(&host)?;
    let [first] = pools.as_slice() else {
        let message = "there is more than one cpupool already; destroy the others first: chaos \
                       cpupool-destroy";
        return Err(HostError::State(message.to_owned()).into());
    };
    let (machine, places) = (Machine::of(&host.xen)?, host.xen.cpu_topology()?);
    let nodes: BTreeSet<u32> = places.iter().filter_map(|place| place.node).collect();
    // CPU 0 stays in the first cpupool, so its node is that cpupool's.
    let own = places.iter().find(|place| place.cpu == 0).and_then(|place| place.node);
    let Some(own) = own else {
        let message = "Xen does not know the NUMA node of CPU 0".to_owned();
        return Err(HostError::State(message).into());
    };
    let free = host.xen.free_cpus()?;
    add_all(&host.xen, CpupoolId::FIRST, &machine.node(own).intersection(&free))?;
    let mut names = vec![(CpupoolId::FIRST, own)];
    for node in nodes.into_iter().filter(|node| *node != own) {
        let cpus = machine.node(node);
        let used = cpus.intersection(&first.pool.cpus);
        remove_all(&host.xen, CpupoolId::FIRST, &first.name, &used)?;
        let cpus = cpus.intersection(&host.xen.free_cpus()?);
        names.push((create_with(&host.xen, first.pool.scheduler, &cpus)?, node));
    }
    for (id, node) in names {
        let name = format!("Pool-node{node}");
        let stored = match id {
            CpupoolId::FIRST => cpupools::rename(&host.xenstored, id, &name),
            _ => {
                let uuid = new_handle().map_err(LifecycleError::Process)?;
                cpupools::introduce(&host.xenstored, id, &name, uuid)
            }
        };
        if let Err(error) = stored {
            output.warning(&format!(
                "cpupool {id} cannot get the name {name}: {}",
                daemon::chain::chain(&error)
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use xen::cpupool::Cpupool;

    use super::*;

    fn pool(number: u32, name: &str, cpus: &[u32], domains: u32) -> NamedCpupool {
        let (scheduler, cpus) = (Scheduler::Credit2, cpus.iter().copied().collect());
        let pool = Cpupool { id: CpupoolId(number), scheduler, domains, cpus };
        NamedCpupool { name: name.to_owned(), pool }
    }

    #[test]
    fn the_tables_have_the_columns_of_xl() {
        let pools = [pool(0, "Pool-0", &[0, 1, 2, 5], 3), pool(1, "batch\n", &[], 0)];
        assert_eq!(
            table(&pools, false),
            "Name               CPUs   Sched     Active   Domain count\n\
             Pool-0               4   credit2       y          3\n\
             batch\\n              0   credit2       y          0\n"
        );
        assert_eq!(
            table(&pools, true),
            "Name               CPU list\n\
             Pool-0             0,1,2,5\n\
             batch\\n            \n"
        );
    }

    #[test]
    fn what_is_created_is_reported_as_by_xl() {
        assert_eq!(
            report("command line", "batch", Scheduler::Credit, 2),
            "Using config file \"command line\"\ncpupool name:   batch\nscheduler:      credit\n\
             number of cpus: 2\n"
        );
    }

    #[test]
    fn a_cpupool_has_the_name_of_its_config_or_of_the_file() {
        let config = CpupoolConfig { name: Some("x".to_owned()), ..CpupoolConfig::default() };
        assert_eq!(new_name(&config, Some(Path::new("/a/p.cfg"))).unwrap(), "x");
        let none = CpupoolConfig::default();
        assert_eq!(new_name(&none, Some(Path::new("/a/p.cfg"))).unwrap(), "p.cfg");
        assert!(new_name(&none, None).is_err());
    }

    #[test]
    fn a_cpu_of_another_cpupool_is_refused_with_what_to_do() {
        let pools = [pool(0, "Pool-0", &[0, 1], 1)];
        let map = |cpus: &[u32]| cpus.iter().copied().collect::<CpuMap>();
        assert!(check_free(&pools, &map(&[2]), &map(&[2, 3])).is_ok());
        let text = check_free(&pools, &map(&[1, 2]), &map(&[2])).unwrap_err().to_string();
        assert!(text.ends_with("chaos cpupool-cpu-remove Pool-0 1"), "{text}");
        let text = check_free(&pools, &map(&[3]), &map(&[2])).unwrap_err().to_string();
        assert!(text.starts_with("CPU 3 is offline"), "{text}");
        assert!(check_unused(&pools, "Pool-0").is_err() && check_unused(&pools, "b").is_ok());
    }
}
