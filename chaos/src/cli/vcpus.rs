// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos vcpu-list` and `vcpu-pin`.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use chaos::guests::{self, Host, ListedGuest};
use nix::errno::Errno;
use xen::Xen;
use xen::cpu_map::CpuMap;
use xen::units::DomId;
use xen::vcpu::{Affinity, VcpuInfo};

use super::chosen;
use super::failure::Failure;
use super::host_args::{VcpuChoice, VcpuListArgs, VcpuPinArgs};
use super::host_error::HostError;
use super::output::Output;
use super::xl_table::name;
use chaos::cpu_list::{Machine, shown};

/// A vCPU in the list.
#[derive(Clone, Debug)]
struct VcpuRow {
    name: String,
    domid: DomId,
    vcpu: u32,
    info: VcpuInfo,
    hard: CpuMap,
    soft: CpuMap,
}

/// Lists the vCPUs of domains.
pub(super) fn list(args: &VcpuListArgs, output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    let listed = guests::list(&host, true)?.guests;
    let last_cpu = host.xen.physinfo()?.max_cpu_id;
    let mut rows = Vec::new();
    for domain in &chosen(&listed, &args.guests)? {
        match rows_of(&host.xen, domain) {
            Ok(more) => rows.extend(more),
            // Another process has destroyed the domain since it was listed.
            Err(error) if error.errno() == Some(Errno::ESRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    output.text(&table(&rows, last_cpu));
    Ok(())
}

fn rows_of(xen: &Xen, domain: &ListedGuest) -> Result<Vec<VcpuRow>, xen::Error> {
    let Some(info) = &domain.info else { return Ok(Vec::new()) };
    let domid = info.domid;
    let vcpus = info.max_vcpu_id.map_or(0, |last| last + 1);
    let row = |vcpu| {
        Ok(VcpuRow {
            name: name(domain),
            domid,
            vcpu,
            info: xen.vcpu_info(domid, vcpu)?,
            hard: xen.vcpu_affinity(domid, vcpu, Affinity::Hard)?,
            soft: xen.vcpu_affinity(domid, vcpu, Affinity::Soft)?,
        })
    };
    (0..vcpus).map(row).collect()
}

/// Returns the table of `xl vcpu-list`. `last_cpu` is the highest number that a CPU can have.
fn table(rows: &[VcpuRow], last_cpu: u32) -> String {
    let mut text = format!(
        "{:<32} {:>5} {:>5} {:>5} {:>5} {:>9} {}\n",
        "Name", "ID", "VCPU", "CPU", "State", "Time(s)", "Affinity (Hard / Soft)"
    );
    for VcpuRow { name, domid, vcpu, info, hard, soft } in rows {
        let flag = |is_set: bool, letter: char| if is_set { letter } else { '-' };
        // The third letter is `p` for a vCPU that is offline.
        let (cpu, state) = match info.online {
            true => {
                let (running, blocked) = (flag(info.running, 'r'), flag(info.blocked, 'b'));
                (info.cpu.to_string(), format!("{running}{blocked}-"))
            }
            false => ("-".to_owned(), "--p".to_owned()),
        };
        let _ = writeln!(
            text,
            "{name:<32} {:>5} {vcpu:>5}{cpu:>5}   {state} {:>9.1}  {} / {}",
            domid.0,
            Duration::from_nanos(info.cpu_time_ns).as_secs_f64(),
            shown(hard, last_cpu),
            shown(soft, last_cpu),
        );
    }
    text
}

/// Sets where vCPUs may and should run.
pub(super) fn pin(args: &VcpuPinArgs, output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    let domid = guests::dom0_or_guest(&host, &args.guest)?;
    let machine = Machine::of(&host.xen)?;
    let hard = wanted(&machine, &args.hard)?;
    let soft = wanted(&machine, &args.soft)?;
    let last = host.xen.domain_info(domid)?.and_then(|info| info.max_vcpu_id);
    let vcpus = vcpus(args, last)?;
    let set = match args.force {
        true => Xen::force_vcpu_affinity,
        false => Xen::set_vcpu_affinity,
    };
    for vcpu in vcpus {
        for (affinity, cpus) in [(Affinity::Hard, &hard), (Affinity::Soft, &soft)] {
            let Some(cpus) = cpus else { continue };
            let effective = set(&host.xen, domid, vcpu, affinity, cpus)
                .map_err(|error| refused(args, vcpu, affinity, cpus, error))?;
            if let Some(warning) = warning(&machine, vcpu, affinity, cpus, &effective) {
                output.warning(&warning);
            }
        }
    }
    Ok(())
}

/// Returns the CPUs of an argument; `None` for `-`.
fn wanted(machine: &Machine, list: &str) -> Result<Option<CpuMap>, HostError> {
    if list == "-" {
        return Ok(None);
    }
    let cpus = machine.parse(list)?;
    if cpus.is_empty() {
        return Err(HostError::Arguments(format!(
            "list of CPUs {list:?}: must have at least one CPU"
        )));
    }
    Ok(Some(cpus))
}

/// Returns the numbers of the vCPUs to pin. `last` is the highest one of the domain.
fn vcpus(args: &VcpuPinArgs, last: Option<u32>) -> Result<RangeInclusive<u32>, HostError> {
    let guest = &args.guest;
    let Some(last) = last else {
        return Err(HostError::State(format!("{guest} has no vCPUs yet")));
    };
    match args.vcpu {
        VcpuChoice::All if args.force => Err(HostError::Arguments(
            "--force cannot be used with all vCPUs; name one vCPU".to_owned(),
        )),
        VcpuChoice::All => Ok(0..=last),
        VcpuChoice::One(vcpu) if vcpu > last => {
            let message = format!("{guest} has no vCPU {vcpu}; must be 0 to {last}");
            Err(HostError::Arguments(message))
        }
        VcpuChoice::One(vcpu) => Ok(vcpu..=vcpu),
    }
}

fn refused(
    args: &VcpuPinArgs,
    vcpu: u32,
    affinity: Affinity,
    cpus: &CpuMap,
    error: xen::Error,
) -> HostError {
    let doing = format!("pin vCPU {vcpu} of {} to CPUs {cpus}", args.guest);
    let hint = match error.errno() {
        Some(Errno::EINVAL) if affinity == Affinity::Hard => {
            ", of which none is in its cpupool; see chaos cpupool-list -c"
        }
        Some(Errno::EBUSY) => ", because its kernel has pinned it for the moment; use --force",
        _ => "",
    };
    HostError::operation(format!("{doing}{hint}"))(error)
}

/// Returns what of the wish has no effect.
fn warning(
    machine: &Machine,
    vcpu: u32,
    affinity: Affinity,
    cpus: &CpuMap,
    effective: &CpuMap,
) -> Option<String> {
    match affinity {
        Affinity::Soft if effective.is_empty() => Some(format!(
            "vCPU {vcpu} may run on none of the CPUs {cpus}, so the soft affinity has no effect"
        )),
        Affinity::Hard if *cpus != machine.all() && effective != cpus => Some(format!(
            "vCPU {vcpu} runs on CPUs {effective} only: the others of {cpus} are not in its cpupool"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(vcpu: u32, info: VcpuInfo, hard: &[u32], soft: &[u32]) -> VcpuRow {
        let map = |cpus: &[u32]| cpus.iter().copied().collect();
        let (name, domid) = ("redis".to_owned(), DomId(12));
        VcpuRow { name, domid, vcpu, info, hard: map(hard), soft: map(soft) }
    }

    #[test]
    fn the_table_has_the_columns_of_xl() {
        let runs = VcpuInfo {
            online: true,
            blocked: false,
            running: true,
            cpu_time_ns: 12_340_000_000,
            cpu: 3,
        };
        let blocked = VcpuInfo { running: false, blocked: true, ..runs };
        let offline = VcpuInfo { online: false, cpu_time_ns: 0, ..runs };
        let rows = [
            row(0, runs, &[0, 1, 2, 3], &[0, 1]),
            row(1, blocked, &[3], &[0, 1, 2, 3, 4]),
            row(2, offline, &[0, 2, 3], &[]),
        ];
        assert_eq!(
            table(&rows, 3),
            "Name                                ID  VCPU   CPU State   Time(s) \
             Affinity (Hard / Soft)\n\
             redis                               12     0    3   r--      12.3  all / 0-1\n\
             redis                               12     1    3   -b-      12.3  3 / all\n\
             redis                               12     2    -   --p       0.0  0,2-3 / none\n"
        );
    }

    fn args(vcpu: VcpuChoice, force: bool) -> VcpuPinArgs {
        let (guest, hard, soft) = ("web".to_owned(), "0".to_owned(), "-".to_owned());
        VcpuPinArgs { guest, vcpu, hard, soft, force, ignore_masks: false }
    }

    #[test]
    fn only_vcpus_that_exist_are_pinned() {
        assert_eq!(vcpus(&args(VcpuChoice::All, false), Some(3)).unwrap(), 0..=3);
        assert_eq!(vcpus(&args(VcpuChoice::One(3), true), Some(3)).unwrap(), 3..=3);
        let text = |choice, force, last| vcpus(&args(choice, force), last).unwrap_err().to_string();
        let missing = text(VcpuChoice::One(4), false, Some(3));
        assert_eq!(missing, "web has no vCPU 4; must be 0 to 3");
        assert!(text(VcpuChoice::All, true, Some(3)).contains("--force"));
        assert!(text(VcpuChoice::All, false, None).contains("no vCPUs yet"));
    }

    #[test]
    fn what_has_no_effect_is_a_warning() {
        let machine = Machine::new(3, Vec::new());
        let map = |cpus: &[u32]| cpus.iter().copied().collect::<CpuMap>();
        let text = |affinity, cpus: &[u32], effective: &[u32]| {
            warning(&machine, 1, affinity, &map(cpus), &map(effective))
        };
        assert_eq!(text(Affinity::Hard, &[1, 2], &[1, 2]), None);
        assert_eq!(text(Affinity::Hard, &[0, 1, 2, 3], &[0]), None);
        assert_eq!(text(Affinity::Soft, &[1, 2], &[1]), None);
        let hard = text(Affinity::Hard, &[1, 2], &[1]).unwrap();
        assert!(hard.starts_with("vCPU 1 runs on CPUs 1 only: the others of 1-2"), "{hard}");
        let soft = text(Affinity::Soft, &[1, 2], &[]).unwrap();
        assert!(soft.starts_with("vCPU 1 may run on none of the CPUs 1-2"), "{soft}");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let error = |errno| xen::Error::Hypercall { operation: "x", domid: None, errno };
        let text = |affinity, errno| {
            let args = args(VcpuChoice::One(1), false);
            refused(&args, 1, affinity, &[2].into_iter().collect(), error(errno)).to_string()
        };
        assert_eq!(
            text(Affinity::Hard, Errno::EINVAL),
            "cannot pin vCPU 1 of web to CPUs 2, of which none is in its cpupool; see chaos \
             cpupool-list -c"
        );
        assert!(text(Affinity::Hard, Errno::EBUSY).ends_with("use --force"));
        assert_eq!(text(Affinity::Soft, Errno::EINVAL), "cannot pin vCPU 1 of web to CPUs 2");
    }
}
