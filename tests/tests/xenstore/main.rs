// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of XenStore mode, which `scripts/test` runs in dom0 of a real Xen with xenstored and
//! xenconsoled.
//!
//! They share one machine, so they run one after the other, with `--test-threads=1`.

mod ends;
mod guest_verbs;
mod guests;
mod hypercalls;
mod kill;
mod pool;
mod refusals;
mod scripts;
mod vcpus;
mod xl_forms;
mod xl_guest_verbs;
mod xl_keys;
mod xl_verbs;

/// Arguments for a guest that is never unpaused, with a console and a vif. Tests add a disk.
const DEVICES: [&str; 3] =
    ["--store=xenstore", "--paused", "vif=['bridge=xenbr0,mac=00:16:3e:00:00:07']"];

/// The config of a Linux guest. Its kernel is dom0's own.
const LINUX: &str = "name='linux'\ntype='pvh'\nkernel='linux'\nramdisk='linux.cpio'\nmemory=160\n\
                     cmdline='console=hvc0 quiet ip=10.0.0.5/24'\nstore='xenstore'\n\
                     vif=['bridge=xenbr0,mac=00:16:3e:00:00:05']\n";
