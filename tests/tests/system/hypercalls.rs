// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests the calls of crate `xen` about the machine, vCPUs, schedulers and cpupools against a real
//! Xen. What Linux reports in sysfs comes from the same Xen, by other code.

use std::fs;

use nix::errno::Errno;
use system_tests::{Bed, Guest};
use xen::cpu_map::CpuMap;
use xen::cpupool::Cpupool;
use xen::sched::{CpuShare, Credit2Params, Scheduler};
use xen::units::{CpupoolId, DomId, Pages};
use xen::vcpu::{Affinity, Trigger};
use xen::{Error, Xen};

const DOM0: DomId = DomId::DOM0;
/// A number that no CPU of the bed has.
const NO_CPU: u32 = 4000;

fn open() -> Xen {
    Xen::open().expect("dom0 can open Xen")
}

fn map(cpus: &[u32]) -> CpuMap {
    cpus.iter().copied().collect()
}

/// Creates a guest that does not run yet.
fn guest() -> (Guest, DomId) {
    let guest = Guest::create("noop.cfg", &["--paused"]);
    let domid = DomId(u16::try_from(guest.domid).expect("a domid has 16 bits"));
    (guest, domid)
}

/// Returns the last of the machine's CPUs.
fn last_cpu(xen: &Xen) -> u32 {
    xen.physinfo().expect("the machine").cpus - 1
}

/// Returns what Linux reports about Xen.
fn sysfs(file: &str) -> String {
    let path = format!("/sys/hypervisor/{file}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
}

#[track_caller]
fn assert_errno<T: std::fmt::Debug>(result: Result<T, Error>, errno: Errno) {
    assert_eq!(result.as_ref().err().and_then(Error::errno), Some(errno), "{result:?}");
}

#[test]
fn xen_describes_itself_as_linux_does() {
    let _bed = Bed::new();
    let xen = open();
    let info = xen.version_info().expect("its version");
    assert_eq!(info.major.to_string(), sysfs("version/major"));
    assert_eq!(info.minor.to_string(), sysfs("version/minor"));
    assert_eq!(info.extra, sysfs("version/extra"));
    assert_eq!(info.compiler, sysfs("compilation/compiler"));
    assert_eq!(info.compile_by, sysfs("compilation/compiled_by"));
    assert_eq!(info.compile_date, sysfs("compilation/compile_date"));
    assert_eq!(info.capabilities, sysfs("properties/capabilities"));
    assert_eq!(info.changeset, sysfs("properties/changeset"));
    // Linux shows the bytes themselves, up to a NUL.
    let bytes = fs::read("/sys/hypervisor/properties/buildid").expect("its build ID");
    let digits = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(!digits.is_empty() && info.build_id.starts_with(&digits), "{info:?}, {digits}");
    assert_eq!(format!("{:x}", info.page_size.0), sysfs("properties/pagesize"));
    let virt_start = u64::from_str_radix(&sysfs("properties/virtual_start"), 16);
    assert_eq!(Ok(info.virt_start), virt_start);
    assert!(info.capabilities.contains("hvm-3.0-x86_64"), "{info:?}");
    assert!(info.command_line.contains("dom0_mem="), "{info:?}");
    assert_eq!((info.major, info.minor), xen.version());
}

#[test]
fn xen_describes_the_machine() {
    let _bed = Bed::new();
    let xen = open();
    let info = xen.physinfo().expect("the machine");
    assert!(info.capabilities.hvm() && info.capabilities.hap(), "{info:?}");
    assert!(info.capabilities.names().contains(&"gnttab-v1"), "{info:?}");
    assert!(info.max_cpu_id >= info.cpus - 1 && info.max_node_id >= info.nodes - 1, "{info:?}");
    assert!(info.threads_per_core >= 1 && info.cores_per_socket >= 1, "{info:?}");
    assert!(info.max_mfn >= info.total.0 - 1, "{info:?}");
    // Linux in dom0 sees the same CPU: bit 0 of the first word is the FPU.
    assert_eq!(info.hw_cap[0] & 1, 1, "{info:?}");

    let cpus = xen.cpu_topology().expect("the CPUs");
    let numbers: Vec<u32> = cpus.iter().map(|place| place.cpu).collect();
    assert_eq!(numbers, (0..info.cpus).collect::<Vec<_>>());
    let on_first = cpus.iter().filter(|place| place.socket == cpus[0].socket).count();
    assert_eq!(on_first, (info.cores_per_socket * info.threads_per_core) as usize, "{cpus:?}");

    let nodes = xen.numa_nodes().expect("the nodes");
    assert_eq!(nodes.len(), info.nodes as usize);
    for node in &nodes {
        assert_eq!(node.distances[node.node as usize], Some(10), "{node:?}");
        assert!(node.free <= node.size, "{node:?}");
    }
    assert!(nodes[0].size >= Pages(info.total.0 / 2).to_bytes(), "{nodes:?}");

    let before = xen.cpu_idle_times_ns().expect("idle times");
    assert!(before.len() >= info.cpus as usize);
    let after = xen.cpu_idle_times_ns().expect("idle times");
    assert!(before.iter().zip(&after).all(|(before, after)| before <= after));
    assert!(after.iter().sum::<u64>() > 0);
    // Debian's Xen cannot share memory.
    assert_eq!(xen.shared_memory().expect("shared memory").freed, Pages(0));
}

#[test]
fn xens_log_shows_what_a_debug_key_does_and_can_be_cleared() {
    const KEYS: &str = "'h' pressed -> showing installed handlers";
    let _bed = Bed::new();
    let xen = open();
    let log = |clear| {
        let log = xen.console(clear).expect("the log");
        String::from_utf8_lossy(&log).into_owned()
    };
    xen.console(true).expect("an empty log");
    assert!(!log(false).contains(KEYS));
    xen.debug_keys(b"h").expect("a key");
    assert!(log(false).contains(KEYS), "the first read leaves it there");
    assert!(log(true).contains(KEYS));
    assert!(!log(true).contains(KEYS));
}

#[test]
fn a_guests_vcpu_is_pinned() {
    let _bed = Bed::new();
    let xen = open();
    let (guest, domid) = guest();
    let last = last_cpu(&xen);
    let all = xen.vcpu_affinity(domid, 0, Affinity::Hard).expect("the default");
    assert!((0..=last).all(|cpu| all.contains(cpu)), "{all}");

    let pin = |affinity, cpus: &[u32]| xen.set_vcpu_affinity(domid, 0, affinity, &map(cpus));
    let effective = pin(Affinity::Hard, &[last, NO_CPU]).expect("it is pinned");
    assert_eq!(effective, map(&[last]), "CPUs that do not exist are ignored");
    assert_eq!(xen.vcpu_affinity(domid, 0, Affinity::Hard).expect("the same"), map(&[last]));
    assert_eq!(xen.vcpu_info(domid, 0).expect("the vCPU").cpu, last);
    assert_eq!(xen.vcpu_affinity(domid, 0, Affinity::Soft).expect("untouched"), all);

    let effective = pin(Affinity::Soft, &[0]).expect("it prefers CPU 0");
    assert_eq!(effective, map(&[0]).intersection(&map(&[last])));
    assert_eq!(xen.vcpu_affinity(domid, 0, Affinity::Soft).expect("the same"), map(&[0]));
    assert_eq!(xen.vcpu_affinity(domid, 0, Affinity::Hard).expect("untouched"), map(&[last]));
    xen.force_vcpu_affinity(domid, 0, Affinity::Hard, &all).expect("it is free again");

    assert_errno(pin(Affinity::Hard, &[]), Errno::EINVAL);
    assert_errno(pin(Affinity::Hard, &[NO_CPU]), Errno::EINVAL);
    assert_errno(xen.vcpu_affinity(domid, 1, Affinity::Hard), Errno::EINVAL);
    let no_vcpu = if xen.version() < (4, 22) { Errno::EINVAL } else { Errno::ENOENT };
    assert_errno(xen.vcpu_info(domid, 1), no_vcpu);
    guest.destroy();
    assert_errno(xen.vcpu_info(domid, 0), Errno::ESRCH);
}

#[test]
fn dom0s_vcpus_can_be_pinned_and_weighed() {
    let _bed = Bed::new();
    let xen = open();
    let info = xen.vcpu_info(DOM0, 0).expect("its first vCPU");
    assert!(info.online && info.cpu_time_ns > 0, "{info:?}");
    let before = xen.vcpu_affinity(DOM0, 0, Affinity::Hard).expect("its CPUs");
    let effective = xen.set_vcpu_affinity(DOM0, 0, Affinity::Hard, &map(&[0])).expect("pinned");
    assert_eq!(effective, map(&[0]));
    assert_eq!(xen.vcpu_affinity(DOM0, 0, Affinity::Hard).expect("the same"), map(&[0]));
    xen.set_vcpu_affinity(DOM0, 0, Affinity::Hard, &before).expect("restored");

    let scheduler = xen.scheduler().expect("the scheduler");
    let before = xen.cpu_share(DOM0, scheduler).expect("its share");
    let more = CpuShare { weight: before.weight + 7, ..before };
    xen.set_cpu_share(DOM0, scheduler, more).expect("a larger share");
    assert_eq!(xen.cpu_share(DOM0, scheduler).expect("the same"), more);
    xen.set_cpu_share(DOM0, scheduler, before).expect("restored");
}

#[test]
fn credit2_weighs_and_caps_a_guest() {
    let _bed = Bed::new();
    let xen = open();
    assert_eq!(xen.scheduler().expect("the scheduler"), Scheduler::Credit2);
    let (guest, domid) = guest();
    let share = || xen.cpu_share(domid, Scheduler::Credit2).expect("its share");
    let set = |weight, cap| xen.set_cpu_share(domid, Scheduler::Credit2, CpuShare { weight, cap });
    assert_eq!(share(), CpuShare { weight: 256, cap: 0 });
    set(512, 50).expect("a share");
    assert_eq!(share(), CpuShare { weight: 512, cap: 50 });
    set(1, 0).expect("no cap");
    assert_eq!(share(), CpuShare { weight: 1, cap: 0 });
    // It has one vCPU.
    assert_errno(set(256, 101), Errno::EINVAL);
    assert!(matches!(set(0, 0), Err(Error::Refused { .. })));
    assert_errno(xen.cpu_share(domid, Scheduler::Credit), Errno::EINVAL);
    assert!(matches!(xen.cpu_share(domid, Scheduler::Rtds), Err(Error::Refused { .. })));
    guest.destroy();
    assert_errno(set(256, 0), Errno::ESRCH);

    let pool = CpupoolId::FIRST;
    let before = xen.credit2_params(pool).expect("its parameters");
    let other = Credit2Params { ratelimit_us: before.ratelimit_us + 100 };
    xen.set_credit2_params(pool, other).expect("another rate limit");
    assert_eq!(xen.credit2_params(pool).expect("the same"), other);
    xen.set_credit2_params(pool, before).expect("restored");
    let wrong = xen.set_credit2_params(pool, Credit2Params { ratelimit_us: 99 });
    assert_errno(wrong, Errno::EINVAL);
    assert_errno(xen.credit_params(pool), Errno::EINVAL);
    assert_errno(xen.credit2_params(CpupoolId(77)), Errno::ESRCH);
}

/// A cpupool that takes a CPU of the first one, and returns it when it is dropped.
struct Pool<'a> {
    xen: &'a Xen,
    id: CpupoolId,
    cpu: u32,
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        let removed = self.xen.remove_cpu(self.id, self.cpu);
        let destroyed = self.xen.destroy_cpupool(self.id);
        let returned = self.xen.add_cpu(CpupoolId::FIRST, self.cpu);
        if !std::thread::panicking() {
            removed.expect("it gives up its CPU");
            destroyed.expect("Xen destroys it");
            returned.expect("the first pool has the CPU again");
        }
    }
}

#[test]
fn a_cpupool_is_created_and_destroyed() {
    let _bed = Bed::new();
    let xen = open();
    let first = xen.cpupool(CpupoolId::FIRST).expect("Xen answers").expect("it is there");
    assert_eq!(first.cpus, (0..=last_cpu(&xen)).collect());
    assert_eq!((first.scheduler, first.domains), (Scheduler::Credit2, 1));
    assert_eq!(xen.cpupools().expect("a list"), std::slice::from_ref(&first));
    assert_eq!(xen.cpupool_of(DOM0).expect("Xen answers"), Some(CpupoolId::FIRST));

    let id = xen.create_cpupool(Scheduler::Credit).expect("a pool");
    let (scheduler, cpus) = (Scheduler::Credit, CpuMap::new());
    let created = Cpupool { id, scheduler, domains: 0, cpus };
    assert_eq!(xen.cpupool(id).expect("Xen answers"), Some(created.clone()));
    assert_eq!(xen.cpupools().expect("a list"), [first, created]);
    let params = xen.credit_params(id).expect("credit's parameters");
    let slower = xen::sched::CreditParams { timeslice_ms: params.timeslice_ms + 1, ..params };
    xen.set_credit_params(id, slower).expect("a longer time slice");
    assert_eq!(xen.credit_params(id).expect("the same"), slower);
    let (guest, domid) = guest();
    assert_errno(xen.move_to_cpupool(domid, id), Errno::ENOENT);
    guest.destroy();
    xen.destroy_cpupool(id).expect("Xen destroys it");
    assert_eq!(xen.cpupool(id).expect("Xen answers"), None);

    assert_errno(xen.destroy_cpupool(id), Errno::ENOENT);
    assert_errno(xen.destroy_cpupool(CpupoolId::FIRST), Errno::EBUSY);
    assert_errno(xen.create_cpupool(Scheduler::Other(99)), Errno::ENOENT);
    assert_errno(xen.add_cpu(CpupoolId::FIRST, 0), Errno::ENODEV);
    assert_errno(xen.remove_cpu(CpupoolId::FIRST, 0), Errno::EINVAL);
    assert_errno(xen.add_cpu(CpupoolId::FIRST, NO_CPU), Errno::EINVAL);
    // To Xen this number means any CPU.
    assert_errno(xen.remove_cpu(CpupoolId::FIRST, u32::MAX), Errno::EINVAL);
    assert_eq!(xen.free_cpus().expect("Xen answers"), CpuMap::new());
}

#[test]
fn a_guest_moves_to_a_cpupool_and_back() {
    let _bed = Bed::new();
    let xen = open();
    let cpu = last_cpu(&xen);
    if cpu == 0 {
        // The machine has one CPU, which stays in the first pool.
        assert_errno(xen.remove_cpu(CpupoolId::FIRST, cpu), Errno::EINVAL);
        return;
    }
    xen.remove_cpu(CpupoolId::FIRST, cpu).expect("the CPU is free");
    assert_eq!(xen.free_cpus().expect("Xen answers"), map(&[cpu]));
    let id = xen.create_cpupool(Scheduler::Credit).expect("a pool");
    let pool = Pool { xen: &xen, id, cpu };
    xen.add_cpu(id, cpu).expect("the pool has the CPU");
    assert_eq!(xen.free_cpus().expect("Xen answers"), CpuMap::new());

    let (guest, domid) = guest();
    xen.move_to_cpupool(domid, id).expect("the guest is in the pool");
    assert_eq!(xen.cpupool_of(domid).expect("Xen answers"), Some(id));
    let info = xen.cpupool(id).expect("Xen answers").expect("it is there");
    assert_eq!((info.domains, info.cpus), (1, map(&[cpu])));
    assert_eq!(xen.vcpu_info(domid, 0).expect("its vCPU").cpu, cpu);
    let share = xen.cpu_share(domid, Scheduler::Credit).expect("the pool's scheduler");
    assert_eq!(share, CpuShare { weight: 256, cap: 0 });
    // The CPU 0 is in the other pool.
    let pinned = xen.set_vcpu_affinity(domid, 0, Affinity::Hard, &map(&[0]));
    assert_errno(pinned, Errno::EINVAL);
    assert_errno(xen.destroy_cpupool(id), Errno::EBUSY);
    assert_errno(xen.remove_cpu(id, cpu), Errno::EBUSY);
    assert!(matches!(xen.move_to_cpupool(DOM0, id), Err(Error::Refused { .. })));

    xen.move_to_cpupool(domid, CpupoolId::FIRST).expect("it is back");
    assert_eq!(xen.cpupool_of(domid).expect("Xen answers"), Some(CpupoolId::FIRST));
    guest.destroy();
    drop(pool);
    let first = xen.cpupool(CpupoolId::FIRST).expect("Xen answers").expect("it is there");
    assert_eq!(first.cpus, (0..=cpu).collect());
}

#[test]
fn triggers_that_would_be_lost_are_refused() {
    let _bed = Bed::new();
    let xen = open();
    let (guest, domid) = guest();
    for button in [Trigger::Power, Trigger::Sleep] {
        let pressed = xen.send_trigger(domid, 0, button);
        assert!(matches!(pressed, Err(Error::Refused { .. })), "{pressed:?}");
    }
    assert_errno(xen.send_trigger(domid, 0, Trigger::Reset), Errno::ENOSYS);
    assert_errno(xen.send_trigger(domid, 1, Trigger::Nmi), Errno::ESRCH);
    xen.send_trigger(domid, 0, Trigger::Nmi).expect("an NMI");
    guest.destroy();
    assert_errno(xen.send_trigger(domid, 0, Trigger::Nmi), Errno::ESRCH);
}
