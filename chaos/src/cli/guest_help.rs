// SPDX-License-Identifier: GPL-3.0-or-later
//! What `--help` of the commands that look into guests and change their memory and vCPUs prints below
//! the arguments.

use super::help::with_exit_codes;

pub(super) const DUMP_CORE: &str = with_exit_codes!(
    "\
The file is an ELF core for gdb: a thread for each vCPU, and all memory at the guest's physical
addresses. Guests of the runtime `unikernel` see their memory there. Of a guest with 64-bit page
tables, such as Linux, the upper half of the virtual addresses is there, too: the kernel. Pages of
zeroes take no space. The file appears when it is complete. xl writes another format.

A running guest is paused meanwhile; a guest that has crashed can be dumped, too (on_crash=\"preserve\").

Examples:
  chaos dump-core redis redis.core   write a core file
  gdb redis redis.core               look at it, with the guest's image with symbols"
);

pub(super) const MEM_MAX: &str = with_exit_codes!(
    "\
Changes the limit only. It cannot be less than what the guest has.

Examples:
  chaos mem-max linux 512    let a guest have up to 512 MiB
  chaos mem-max linux 1g     with a unit, as in xl"
);

pub(super) const MEM_SET: &str = with_exit_codes!(
    "\
A guest in XenStore mode changes its memory by itself, after the command. A guest with a device page
answers: the command waits, and says how much was reached. Its memory is at most what it was created
with. Guests of the runtime `unikernel` do so with its feature hot-plug, which redis has.

Examples:
  chaos mem-set linux 256       set the target of a guest
  chaos mem-set redis 6         take memory that redis does not use
  chaos mem-set redis 8         return it"
);

pub(super) const VCPU_SET: &str = with_exit_codes!(
    "\
Only for guests in XenStore mode: the device page has no such request, and the runtime `unikernel`
uses one vCPU.

Examples:
  chaos vcpu-set linux 2      let a guest use two of its vCPUs
  chaos vcpu-set -i linux 8   even if the machine has fewer CPUs"
);

pub(super) const SYSRQ: &str = with_exit_codes!(
    "\
Only for guests in XenStore mode, whose kernel must be Linux. The answer is on the guest's console.

Examples:
  chaos sysrq linux h   list the letters
  chaos sysrq linux s   write unwritten data to the disks"
);

pub(super) const VM_LIST: &str = with_exit_codes!(
    "\
Prints the columns of xl.

Examples:
  chaos vm-list   list UUIDs, domids and names"
);

pub(super) const CONFIG_UPDATE: &str = with_exit_codes!(
    "\
The running guest is not changed. When it ends, chaosd does what the new config says, and restarts it
with the new config. A vif without mac= keeps its MAC address. Devices that were added to the running
guest are not in the new config. A second update replaces the first one.

Examples:
  chaos config-update redis redis.cfg             restart redis with this config next time
  chaos config-update redis redis.cfg memory=16   with another value
  chaos reboot redis                              restart it now"
);
