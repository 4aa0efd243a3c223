// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs the commands that look into guests and change their memory and vCPUs.

use std::fmt::Write as _;
use std::time::Duration;

use chaos::dump::DumpError;
use chaos::guests::{self, Host, LifecycleError, MemoryOutcome};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::failure::Failure;
use super::guest_args::{
    DumpCoreArgs, GuestCommand, MemMaxArgs, MemSetArgs, SysrqArgs, VcpuSetArgs,
};
use super::host_error::HostError;
use super::output::Output;
use super::{config_update, table, xl_table};

/// Runs a command.
pub(super) fn run(command: &GuestCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        GuestCommand::DumpCore(args) => dump_core(args, output),
        GuestCommand::MemMax(MemMaxArgs { guest, memory }) => {
            Ok(guests::set_memory_limit(&Host::open()?, guest, *memory)?)
        }
        GuestCommand::MemSet(args) => set_memory(args),
        GuestCommand::VcpuSet(args) => set_vcpus(args),
        GuestCommand::Sysrq(SysrqArgs { guest, letter }) => {
            Ok(guests::send_sysrq(&Host::open()?, guest, *letter)?)
        }
        GuestCommand::VmList(_) => list_uuids(output),
        GuestCommand::ConfigUpdate(args) => config_update::run(args, output),
    }
}

/// Writes a core file.
fn dump_core(args: &DumpCoreArgs, output: &mut Output) -> Result<(), Failure> {
    let host = Host::open()?;
    let signals = signals().map_err(|errno| LifecycleError::from(DumpError::Signals(errno)))?;
    // A read error means the same as a signal: it cannot go on safely.
    let mut should_stop = || !matches!(signals.read_signal(), Ok(None));
    let summary = guests::dump_core(&host, &args.guest, &args.file, &mut should_stop)?;
    if summary.is_cut {
        output.warning(
            &"the guest's page tables map more ranges than a core file lists: the smallest virtual \
              ones are left out; the memory is complete",
        );
    }
    Ok(())
}

/// Blocks the signals that ask a process to exit, so that the guest is unpaused first. Returns a
/// descriptor that reads them without waiting.
fn signals() -> Result<SignalFd, Errno> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// Sets the memory that a guest is to have.
fn set_memory(args: &MemSetArgs) -> Result<(), Failure> {
    let MemSetArgs { guest, memory, timeout } = args;
    let host = Host::open()?;
    let timeout = Duration::from_secs(*timeout);
    if let MemoryOutcome::Reached(reached) = guests::set_memory(&host, guest, *memory, timeout)?
        && reached != *memory
    {
        return Err(HostError::State(format!(
            "{guest} has {} MiB instead of {}: it uses the rest itself, or Xen has no more; \
             see chaos info free_memory",
            table::mebibytes(reached.0),
            table::mebibytes(memory.0)
        ))
        .into());
    }
    Ok(())
}

/// Sets how many of its vCPUs a guest is to use.
fn set_vcpus(args: &VcpuSetArgs) -> Result<(), Failure> {
    let VcpuSetArgs { guest, vcpus, ignore_host } = args;
    let host = Host::open()?;
    if !ignore_host {
        let cpus = host.xen.physinfo()?.cpus;
        if *vcpus > cpus {
            return Err(HostError::Arguments(format!(
                "{vcpus} vCPUs: the machine has {cpus} CPUs; to use more vCPUs than that: chaos \
                 vcpu-set --ignore-host"
            ))
            .into());
        }
    }
    Ok(guests::set_vcpus(&host, guest, *vcpus)?)
}

/// Prints the UUIDs of all domains.
fn list_uuids(output: &mut Output) -> Result<(), Failure> {
    let listed = guests::list(&Host::open()?, true)?.guests;
    let mut text = "UUID                                  ID    name\n".to_owned();
    for guest in &listed {
        if let Some(info) = &guest.info {
            let name = xl_table::name(guest);
            let _ = writeln!(text, "{}  {}    {name:<30}", info.handle, info.domid);
        }
    }
    output.text(&text);
    Ok(())
}
