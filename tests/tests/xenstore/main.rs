//! XenStore mode, in dom0 of a real Xen where xenstored and xenconsoled run. `scripts/test` takes the
//! tests there.
//!
//! They share one machine, so they run one after the other: the runner is started with
//! `--test-threads=1`.

mod guests;
mod kill;
mod pool;
mod refusals;

/// A guest that is never started, with all kinds of devices: xl would make it with as much.
const DEVICES: [&str; 3] =
    ["--store=xenstore", "--paused", "vif=['bridge=xenbr0,mac=00:16:3e:00:00:07']"];

/// The config of a Linux guest. Its kernel is dom0's own.
const LINUX: &str = "name='linux'\ntype='pvh'\nkernel='linux'\nramdisk='linux.cpio'\nmemory=160\n\
                     cmdline='console=hvc0 quiet ip=10.0.0.5/24'\nstore='xenstore'\n\
                     vif=['bridge=xenbr0,mac=00:16:3e:00:00:05']\n";
