//! Whole-system tests, in dom0 of a real Xen. `scripts/test` takes them there.
//!
//! They share one machine, so they run one after the other: the runner is started with
//! `--test-threads=1`.

mod create;
mod devices;
mod ends;
mod kill;
mod kill_daemon;
mod load;
mod pool;
mod probe;
mod refusals;
mod services;
mod supervise;
mod upgrade;
