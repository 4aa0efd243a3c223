// SPDX-License-Identifier: GPL-3.0-or-later
//! What `--help` of the commands for CPUs, cpupools and the machine prints below the arguments.

use super::help::with_exit_codes;

pub(super) const VCPU_LIST: &str = with_exit_codes!(
    "\
Prints the columns of xl, also with --xl. A domain of another toolstack is called (null).

Examples:
  chaos vcpu-list         list the vCPUs of dom0 and of all guests
  chaos vcpu-list redis   list those of one guest"
);

pub(super) const VCPU_PIN: &str = with_exit_codes!(
    "\
CPUS is a list, whose items are carried out in their order: 0-3,^1 are the CPUs 0, 2 and 3, and
all,^node:0 are all but those of NUMA node 0. A CPU that does not exist is refused; xl ignores it.
A guest's restart forgets the setting, and so does a move to another cpupool.

Examples:
  chaos vcpu-pin redis 0 2        let vCPU 0 run on CPU 2 only
  chaos vcpu-pin redis all 1-3    let all vCPUs run on the CPUs 1 to 3
  chaos vcpu-pin redis 0 - 2-3    prefer the CPUs 2 and 3
  chaos vcpu-pin Domain-0 all 0   leave the other CPUs to guests"
);

pub(super) const SCHED_CREDIT: &str = with_exit_codes!(
    "\
Without arguments, lists the cpupools with this scheduler and the domains in them: none if all have
another one.

Examples:
  chaos sched-credit                    list cpupools and domains
  chaos sched-credit -d redis -w 512    double the share of a guest
  chaos sched-credit -s -t 10           let vCPUs run for 10 ms at a time"
);

pub(super) const SCHED_CREDIT2: &str = with_exit_codes!(
    "\
Without arguments, lists the cpupools with this scheduler, which is Xen's default, and the domains
in them.

Examples:
  chaos sched-credit2                      list cpupools and domains
  chaos sched-credit2 -d Domain-0 -w 512   double the share of dom0
  chaos sched-credit2 -d redis -c 50       let a guest use at most half a CPU
  chaos sched-credit2 -s -r 500            let vCPUs run for at least 0.5 ms"
);

pub(super) const CPUPOOL_LIST: &str = with_exit_codes!(
    "\
Names are kept in XenStore. Where none runs, a cpupool is called Pool- and its number.

Examples:
  chaos cpupool-list        list cpupools with their schedulers
  chaos cpupool-list -c 0   list the CPUs of one"
);

pub(super) const CPUPOOL_CREATE: &str = with_exit_codes!(
    "\
Keys: name, sched (credit, credit2, rtds, arinc653 or null), cpus (a list as for vcpu-pin, or
[\"2\",\"3\"]) and nodes (a list of NUMA nodes, whose free CPUs are taken). CPUs must be free: remove
them from their cpupool first. Where no XenStore runs, the cpupool keeps no name, but Pool- and its
number.

Examples:
  chaos cpupool-create name=batch cpus=2-3   create one with two free CPUs
  chaos cpupool-create batch.cfg             create one from a config
  chaos cpupool-create -n batch.cfg          print what would be created"
);

pub(super) const CPUPOOL_DESTROY: &str = with_exit_codes!(
    "\
Its domains must be moved before. Its CPUs are free then: they run nothing until they are added to
another cpupool.

Examples:
  chaos cpupool-destroy batch   destroy a cpupool by its name"
);

pub(super) const CPUPOOL_RENAME: &str = with_exit_codes!(
    "\
Names are kept in XenStore. Where none runs, this is refused.

Examples:
  chaos cpupool-rename Pool-0 base   call the first cpupool base"
);

pub(super) const CPUPOOL_CPU_ADD: &str = with_exit_codes!(
    "\
The CPUs must be free. `all` are those that are.

Examples:
  chaos cpupool-cpu-add batch 3        add CPU 3
  chaos cpupool-cpu-add 1 node:1       add the CPUs of NUMA node 1
  chaos cpupool-cpu-add Pool-0 all     add all free CPUs"
);

pub(super) const CPUPOOL_CPU_REMOVE: &str = with_exit_codes!(
    "\
`all` are those of the cpupool. CPU 0 stays in the first one, and the last CPU in one with domains.

Examples:
  chaos cpupool-cpu-remove Pool-0 2-3   free two CPUs for another cpupool"
);

pub(super) const CPUPOOL_MIGRATE: &str = with_exit_codes!(
    "\
Its vCPUs may then run on all CPUs of the cpupool. A restart creates the guest in the first cpupool
again. dom0 stays there.

Examples:
  chaos cpupool-migrate redis batch   move a guest"
);

pub(super) const CPUPOOL_NUMA_SPLIT: &str = with_exit_codes!(
    "\
The first cpupool keeps the node of CPU 0. Names are kept in XenStore: where none runs, the cpupools
are Pool-0, Pool-1 and so on instead of Pool-node0, Pool-node1. dom0 keeps all its vCPUs; xl takes
those offline for which its node has no CPU.

Examples:
  chaos cpupool-numa-split   create a cpupool for each NUMA node"
);

pub(super) const DMESG: &str = with_exit_codes!(
    "\
On a terminal, control characters are shown as escapes such as \\x1b.

Examples:
  chaos dmesg      print Xen's log
  chaos dmesg -c   print and clear it"
);

pub(super) const DEBUG_KEYS: &str = with_exit_codes!(
    "\
Xen writes its answers to its log; see chaos dmesg. R reboots the machine at once, and C crashes it.

Examples:
  chaos debug-keys h    list the keys
  chaos debug-keys qr   describe the domains and the run queues"
);

pub(super) const INFO: &str = with_exit_codes!(
    "\
Prints the keys of xl, also with --xl. -n does not list PCI devices, as xl does.

Examples:
  chaos info               print all keys
  chaos info free_memory   print the free memory in MiB
  chaos info -n            also list the CPUs and the NUMA nodes"
);

pub(super) const TRIGGER: &str = with_exit_codes!(
    "\
A PVH guest has no ACPI buttons and no sleep states, so power, sleep and s3resume are refused. Xen
on x86 does not support reset and init.

Examples:
  chaos trigger redis nmi     send an NMI to the first vCPU
  chaos trigger redis nmi 1   send it to another vCPU"
);
