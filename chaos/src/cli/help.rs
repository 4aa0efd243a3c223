// SPDX-License-Identifier: GPL-3.0-or-later
//! What `--help` prints below the arguments: examples and exit codes.

/// Appends the exit codes, which all commands share.
macro_rules! with_exit_codes {
    ($examples:literal) => {
        concat!(
            $examples,
            "\n\n\
Exit codes:
  0  success
  1  the command failed
  2  the arguments, the config, the kernel or the ramdisk are wrong; nothing was changed
  3  the guest does not exist
  4  the host is not ready: not root, not dom0, no Xen, noxsd or chaosd not running
  5  the guest did not respond in time
  6  the command was carried out, but standard output takes no more: `chaos list` shows what is"
        )
    };
}

pub(super) use with_exit_codes;

pub(super) const CHAOS: &str = with_exit_codes!(
    "\
Examples:
  chaos create redis.cfg    create a guest from a config
  chaos list                list the guests
  chaos console redis       attach to a guest's console
  chaos shutdown -w redis   shut a guest down and remove it

`chaos COMMAND --help` describes a command."
);

pub(super) const CREATE: &str = with_exit_codes!(
    "\
Examples:
  chaos create redis.cfg               create a guest
  chaos create redis.cfg name=r2       create it with another name
  chaos create -c daytime.cfg          create it and attach to its console
  chaos create -n 50 daytime.cfg       create daytime-1 to daytime-50
  chaos create --dry-run redis.cfg     print what would be created
  generate | chaos create -            read the config from standard input"
);

pub(super) const CONFIG: &str = with_exit_codes!(
    "\
Defaults are filled in, and nothing is looked up: paths are as in the config. The guests that would
be created are printed by `chaos create --dry-run`. Neither needs Xen.

Examples:
  chaos config redis.cfg             print what a config means
  chaos config redis.cfg memory=16   print it with another value"
);

pub(super) const LIST: &str = with_exit_codes!(
    "\
Examples:
  chaos list             list the guests in a table
  chaos list redis web   list two of them
  chaos list --json      list them for a program
  chaos list --xl        print the columns of xl list, for scripts that read these
  chaos list -v          with UUIDs, as in xl; -Z, -c and -n are xl's, too
  chaos list -l          print domids and configs as JSON; the configs are those of chaos config"
);

pub(super) const DESTROY: &str = with_exit_codes!(
    "\
A guest gets no chance to shut down; `chaos shutdown` asks it first. Leftovers of a guest that is
gone are removed, too.

Examples:
  chaos destroy redis      destroy a guest by its name
  chaos destroy web-1 17   destroy several, by name or domid"
);

pub(super) const SHUTDOWN: &str = with_exit_codes!(
    "\
chaosd does what the guest's on_poweroff says. Without chaosd, --wait destroys a guest whose
on_poweroff is \"destroy\"; otherwise it stays listed as powered-off until `chaos destroy` removes it.

Examples:
  chaos shutdown redis                  ask a guest to power off
  chaos shutdown -w --timeout 5 redis   wait at most 5 s until it is gone
  chaos shutdown -a -w                  ask all guests, and wait for each"
);

pub(super) const REBOOT: &str = with_exit_codes!(
    "\
chaosd does what the guest's on_reboot says: restart it, by default. Without chaosd, it stays listed
as rebooted until `chaos destroy` removes it. --wait waits for the guest's end, as in xl, not for its
restart.

Examples:
  chaos reboot redis   ask a guest to reboot
  chaos reboot -a      ask all guests"
);

pub(super) const PAUSE: &str = with_exit_codes!(
    "\
Examples:
  chaos pause redis   take all CPU time from a guest; its memory and devices stay"
);

pub(super) const UNPAUSE: &str = with_exit_codes!(
    "\
Examples:
  chaos unpause redis   let a paused guest run again"
);

pub(super) const RENAME: &str = with_exit_codes!(
    "\
The guest may run meanwhile. A restart keeps the new name.

Examples:
  chaos rename redis cache   let guest redis be called cache"
);

pub(super) const DOMID: &str = with_exit_codes!(
    "\
Examples:
  chaos domid redis   print the domid of guest redis"
);

pub(super) const DOMNAME: &str = with_exit_codes!(
    "\
Examples:
  chaos domname 17   print the name of the guest with domid 17"
);

pub(super) const UPTIME: &str = with_exit_codes!(
    "\
Examples:
  chaos uptime            print the uptimes of dom0 and of all guests
  chaos uptime -s redis   print that of one guest in one line"
);

pub(super) const CONSOLE: &str = with_exit_codes!(
    "\
Begins with what was printed while no client was attached. Ctrl-] detaches; the guest runs on. Of
several clients the first one types, and the others see the output.

Examples:
  chaos console redis   attach to a guest's console"
);

pub(super) const LOG: &str = with_exit_codes!(
    "\
Only the end of the output is kept. On a terminal, control characters are shown as escapes such as
\\x1b; `chaos log redis | cat` prints them as they are.

Examples:
  chaos log redis      print what a guest has written to its console
  chaos log -f redis   continue with what it writes"
);

pub(super) const POOL: &str = with_exit_codes!(
    "\
A shell is a domain that chaosd has prepared, so that a create only copies the image into it.

Examples:
  chaos pool                     show the flavours and their shells
  chaos pool resize small 8 32   refill `small` to 32 shells when fewer than 8 are ready
  chaos pool drain               destroy all shells"
);

pub(super) const METRICS: &str = with_exit_codes!(
    "\
The format is that of OpenMetrics. chaosd also serves it over HTTP at /metrics, on the socket
/run/chaos/chaosd-http.sock, and on loopback if its configuration says so (metrics=).

Examples:
  chaos metrics                                   print all metrics
  chaos metrics --text | promtool check metrics   check them"
);

pub(super) const EVENTS: &str = with_exit_codes!(
    "\
Events are: created, ended, restarted, destroyed, renamed, device-broken. A reader that is too slow
gets a line that says how many it has missed. Press Ctrl-C to end.

Examples:
  chaos events          print a line of text for each event
  chaos events --json   print a line of JSON for each"
);

pub(super) const TOP: &str = with_exit_codes!(
    "\
Options:
  -b, --batch               print tables one below the other
  -n, --iterations NUMBER   exit after this many tables
  -d, --delay SECONDS       seconds from one table to the next; default: 3

Keys: q quits; c, m, n, d sort by CPU, memory, network, disk.

Examples:
  chaos top           a live table
  chaos top -b -n 2   print two tables"
);

pub(super) const NETWORK_ATTACH: &str = with_exit_codes!(
    "\
The fields are those of a string of vif= in a config. The guest must take the interface in time, or it
is withdrawn. It stays when the guest reboots.

Examples:
  chaos network-attach redis bridge=xenbr1 ip=10.0.1.5/24   add an interface with an address
  chaos network-attach redis                                add one on xenbr0"
);

pub(super) const NETWORK_DETACH: &str = with_exit_codes!(
    "\
The guest stops using the interface first. If it does not answer, the interface stays, and --force
removes it all the same.

Examples:
  chaos network-detach redis 1                   remove an interface by its number
  chaos network-detach redis 00:16:3e:00:00:01   remove one by its MAC address"
);

pub(super) const NETWORK_LIST: &str = with_exit_codes!(
    "\
States: 4 connected, 5 closing (the guest was asked to stop using it), 6 broken.

Examples:
  chaos network-list redis          list the interfaces of a guest
  chaos network-list --json redis   list them for a program"
);

pub(super) const BLOCK_ATTACH: &str = with_exit_codes!(
    "\
The fields are those of a string of disk= in a config. The guest must take the disk in time, or it is
withdrawn. It stays when the guest reboots.

Examples:
  chaos block-attach redis /srv/data.img,raw,xvdb,rw                     add a disk
  chaos block-attach redis vdev=xvdb access=r target=/dev/vg/templates   add a read-only one"
);

pub(super) const BLOCK_DETACH: &str = with_exit_codes!(
    "\
The guest stops using the disk first. If it does not answer, the disk stays; --force removes it all
the same, and the guest may lose what it has not written.

Examples:
  chaos block-detach redis xvdb           remove a disk by its name
  chaos block-detach --force redis xvdb   remove it without asking the guest"
);

pub(super) const BLOCK_LIST: &str = with_exit_codes!(
    "\
States: 4 connected, 5 closing (the guest was asked to stop using it), 6 broken.

Examples:
  chaos block-list redis          list the disks of a guest
  chaos block-list --json redis   list them for a program"
);
