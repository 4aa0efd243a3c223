// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs the commands for CPUs, cpupools and the machine.

use super::failure::Failure;
use super::host_args::HostCommand;
use super::output::Output;
use super::{cpupools, machine, schedulers, vcpus};

/// Runs a command.
pub(super) fn run(command: &HostCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        HostCommand::VcpuList(args) => vcpus::list(args, output),
        HostCommand::VcpuPin(args) => vcpus::pin(args, output),
        HostCommand::SchedCredit(args) => schedulers::credit(args, output),
        HostCommand::SchedCredit2(args) => schedulers::credit2(args, output),
        HostCommand::CpupoolList(args) => cpupools::list(args, output),
        HostCommand::CpupoolCreate(args) => cpupools::create(args, output),
        HostCommand::CpupoolDestroy(args) => cpupools::destroy(args, output),
        HostCommand::CpupoolRename(args) => cpupools::rename(args),
        HostCommand::CpupoolCpuAdd(args) => cpupools::add_cpus(args),
        HostCommand::CpupoolCpuRemove(args) => cpupools::remove_cpus(args),
        HostCommand::CpupoolMigrate(args) => cpupools::migrate(args),
        HostCommand::CpupoolNumaSplit(_) => cpupools::numa_split(output),
        HostCommand::Dmesg(args) => machine::dmesg(args, output),
        HostCommand::DebugKeys(args) => machine::debug_keys(args),
        HostCommand::Info(args) => machine::info(args, output),
        HostCommand::Trigger(args) => machine::trigger(args),
    }
}
