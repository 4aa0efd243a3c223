// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos info`, `dmesg`, `debug-keys` and `trigger`.

use std::fmt::Write as _;
use std::fs;

use chaos::escape;
use chaos::guests::{self, Host};
use daemon::chain::chain;
use nix::errno::Errno;
use xen::Xen;
use xen::pci::PciAddress;
use xen::topology::{CpuPlace, NumaNode};
use xen::units::Pages;
use xen::vcpu::Trigger;

use super::failure::Failure;
use super::host_args::{DebugKeysArgs, DmesgArgs, InfoArgs, TriggerArgs};
use super::host_error::HostError;
use super::output::Output;

/// A line of `xl info`: a key and its value.
type Line = (&'static str, String);

/// Prints what is known of the machine and of Xen.
pub(super) fn info(args: &InfoArgs, output: &mut Output) -> Result<(), Failure> {
    let xen = Xen::open()?;
    let (machine, hypervisor) = (machine_lines(&xen)?, xen_lines(&xen)?);
    if args.numa {
        output.text(&lines(&machine));
        output.text(&cpus(&xen.cpu_topology()?));
        let devices = pci_devices();
        match xen.pci_nodes(&devices) {
            Ok(nodes) => output.text(&devices_table(&devices, &nodes)),
            // As in xl, the rest is printed.
            Err(error) => {
                output.warning(&format!("no NUMA nodes of PCI devices: {}", chain(&error)))
            }
        }
        output.text(&nodes(&xen.numa_nodes()?));
        output.text(&lines(&hypervisor));
        return Ok(());
    }
    let all = [machine, hypervisor].concat();
    output.text(&match &args.name {
        Some(name) => values(&all, name),
        None => lines(&all),
    });
    Ok(())
}

/// Returns the lines about dom0 and the machine.
fn machine_lines(xen: &Xen) -> Result<Vec<Line>, xen::Error> {
    // What uname(2) returns. Each may be longer than its line.
    let kernel = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        escape::line(text.trim_end()).into_owned()
    };
    let host = xen.physinfo()?;
    let shared = xen.shared_memory()?;
    let mebibytes = |pages: Pages| (pages.to_kib().0 >> 10).to_string();
    let free = Pages(host.free.0.saturating_sub(host.outstanding.0));
    Ok(vec![
        ("host", kernel("hostname")),
        ("release", kernel("osrelease")),
        ("version", kernel("version")),
        ("machine", std::env::consts::ARCH.to_owned()),
        ("nr_cpus", host.cpus.to_string()),
        ("max_cpu_id", host.max_cpu_id.to_string()),
        ("nr_nodes", host.nodes.to_string()),
        ("cores_per_socket", host.cores_per_socket.to_string()),
        ("threads_per_core", host.threads_per_core.to_string()),
        ("cpu_mhz", format!("{}.{:03}", host.cpu_khz / 1000, host.cpu_khz % 1000)),
        ("hw_caps", host.hw_cap.map(|word| format!("{word:08x}")).join(":")),
        ("virt_caps", host.capabilities.names().join(" ")),
        ("total_memory", mebibytes(host.total)),
        ("free_memory", mebibytes(free)),
        ("sharing_freed_memory", mebibytes(shared.freed)),
        ("sharing_used_memory", mebibytes(shared.used)),
        ("outstanding_claims", mebibytes(host.outstanding)),
        ("free_cpus", xen.free_cpus()?.len().to_string()),
    ])
}

/// Returns the lines about Xen.
fn xen_lines(xen: &Xen) -> Result<Vec<Line>, xen::Error> {
    let version = xen.version_info()?;
    let full = format!("{}.{}{}", version.major, version.minor, version.extra);
    Ok(vec![
        ("xen_major", version.major.to_string()),
        ("xen_minor", version.minor.to_string()),
        ("xen_extra", version.extra),
        ("xen_version", full),
        ("xen_caps", version.capabilities),
        ("xen_scheduler", xen.scheduler()?.name().to_owned()),
        ("xen_pagesize", version.page_size.0.to_string()),
        ("platform_params", format!("virt_start={:#x}", version.virt_start)),
        ("xen_changeset", version.changeset),
        ("xen_commandline", version.command_line),
        ("cc_compiler", version.compiler),
        ("cc_compile_by", version.compile_by),
        ("cc_compile_domain", version.compile_domain),
        ("cc_compile_date", version.compile_date),
        ("build_id", version.build_id),
        // The version of xm's configs, which xl still prints.
        ("xend_config_format", "4".to_owned()),
    ])
}

/// Returns all lines, as xl prints them.
fn lines(lines: &[Line]) -> String {
    lines.iter().fold(String::new(), |mut text, (key, value)| {
        let _ = writeln!(text, "{key:<23}: {}", escape::line(value));
        text
    })
}

/// Returns the values of the keys that begin with `name`, a line each.
fn values(lines: &[Line], name: &str) -> String {
    let found = lines.iter().filter(|(key, _)| key.starts_with(name));
    found.fold(String::new(), |mut text, (_, value)| {
        let _ = writeln!(text, "{}", escape::line(value));
        text
    })
}

/// What xl shows for a number that is not known.
const UNKNOWN: i64 = -1;

fn known(number: Option<u32>) -> i64 {
    number.map_or(UNKNOWN, i64::from)
}

/// Returns the table of CPUs.
fn cpus(cpus: &[CpuPlace]) -> String {
    let mut text = "cpu_topology           :\ncpu:    core    socket     node\n".to_owned();
    for CpuPlace { cpu, core, socket, node } in cpus {
        // xl leaves out CPUs whose core is not known.
        if let Some(core) = core {
            let (socket, node) = (known(*socket), known(*node));
            let _ = writeln!(text, "{cpu:>3}:    {core:>4}     {socket:>4}     {node:>4}");
        }
    }
    text
}

/// Returns the PCI devices that dom0's kernel knows, in the order of their addresses. A machine need not
/// have any.
fn pci_devices() -> Vec<PciAddress> {
    let entries = fs::read_dir("/sys/bus/pci/devices").into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut devices: Vec<PciAddress> = names.filter_map(|name| name.parse().ok()).collect();
    devices.sort();
    devices
}

/// Returns the table of PCI devices whose NUMA node is known.
fn devices_table(devices: &[PciAddress], nodes: &[Option<u32>]) -> String {
    let mut text = "device topology        :\ndevice           node\n".to_owned();
    let rows = devices.iter().zip(nodes).filter_map(|(device, node)| Some((device, (*node)?)));
    let lines: Vec<String> = rows.map(|(device, node)| format!("{device}      {node}\n")).collect();
    match lines.is_empty() {
        true => text.push_str("No device topology data available\n"),
        false => lines.iter().for_each(|line| text.push_str(line)),
    }
    text
}

/// Returns the table of NUMA nodes.
fn nodes(nodes: &[NumaNode]) -> String {
    let mut text =
        "numa_info              :\nnode:    memsize    memfree    distances\n".to_owned();
    for NumaNode { node, size, free, distances } in nodes {
        let distances: Vec<String> =
            distances.iter().map(|distance| known(*distance).to_string()).collect();
        let (size, free, distances) = (size.0 >> 20, free.0 >> 20, distances.join(","));
        let _ = writeln!(text, "{node:>4}:    {size:>6}     {free:>6}      {distances}");
    }
    text
}

/// Prints Xen's log.
pub(super) fn dmesg(args: &DmesgArgs, output: &mut Output) -> Result<(), Failure> {
    output.of_guest(&Xen::open()?.console(args.clear)?);
    Ok(())
}

/// Sends keys to Xen's console.
pub(super) fn debug_keys(args: &DebugKeysArgs) -> Result<(), Failure> {
    Ok(Xen::open()?.debug_keys(args.keys.as_bytes())?)
}

/// Raises an event in a guest.
pub(super) fn trigger(args: &TriggerArgs) -> Result<(), Failure> {
    let trigger = match args.trigger.as_str() {
        "nmi" => Trigger::Nmi,
        "reset" => Trigger::Reset,
        "init" => Trigger::Init,
        "power" => Trigger::Power,
        "sleep" => Trigger::Sleep,
        // xl changes the ACPI state of an HVM guest.
        _ => {
            let message =
                "s3resume wakes an HVM guest from ACPI's S3; a PVH guest has no sleep states";
            return Err(HostError::Arguments(message.to_owned()).into());
        }
    };
    let host = Host::open()?;
    let domid = guests::dom0_or_guest(&host, &args.guest)?;
    host.xen.send_trigger(domid, args.vcpu, trigger).map_err(|error| {
        let TriggerArgs { guest, trigger, vcpu } = args;
        let hint = match (error.errno(), trigger.as_str()) {
            (Some(Errno::ENOSYS), _) => ": Xen on x86 does not support it",
            (Some(Errno::ESRCH), _) => ", which does not exist; see chaos vcpu-list",
            (None, "power") => "; use chaos shutdown",
            _ => "",
        };
        HostError::operation(format!("send {trigger} to vCPU {vcpu} of {guest}{hint}"))(error)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use xen::units::Bytes;

    use super::*;

    fn some_lines() -> Vec<Line> {
        [("host", "dom0\x1b"), ("xen_major", "4"), ("xen_minor", "20"), ("xen_extra", "")]
            .map(|(key, value)| (key, value.to_owned()))
            .into()
    }

    #[test]
    fn lines_have_the_format_of_xl() {
        assert_eq!(
            lines(&some_lines()),
            "host                   : dom0\\x1b\n\
             xen_major              : 4\n\
             xen_minor              : 20\n\
             xen_extra              : \n"
        );
    }

    #[test]
    fn the_keys_that_begin_with_a_name_are_selected() {
        assert_eq!(values(&some_lines(), "xen_minor"), "20\n");
        assert_eq!(values(&some_lines(), "xen_m"), "4\n20\n");
        assert_eq!(values(&some_lines(), "xen_majors"), "");
    }

    #[test]
    fn cpus_and_nodes_are_shown_as_by_xl() {
        let place = |cpu, core, socket, node| CpuPlace { cpu, core, socket, node };
        let places = [
            place(0, Some(0), Some(1), Some(0)),
            place(1, None, None, Some(0)),
            place(12, Some(5), None, None),
        ];
        let distances = vec![Some(10), None];
        let node = NumaNode { node: 0, size: Bytes(4 << 30), free: Bytes(3 << 20), distances };
        assert_eq!(
            cpus(&places),
            "cpu_topology           :\n\
             cpu:    core    socket     node\n  \
               0:       0        1        0\n \
              12:       5       -1       -1\n"
        );
        assert_eq!(
            nodes(&[node]),
            "numa_info              :\n\
             node:    memsize    memfree    distances\n   \
                0:      4096          3      10,-1\n"
        );
    }

    #[test]
    fn devices_whose_node_is_known_are_shown_as_by_xl() {
        let devices =
            ["0000:00:00.0", "0000:00:1f.3", "0001:a0:00.1"].map(|text| text.parse().unwrap());
        assert_eq!(
            devices_table(&devices, &[Some(0), None, Some(1)]),
            "device topology        :\ndevice           node\n\
             0000:00:00.0      0\n0001:a0:00.1      1\n"
        );
        assert_eq!(
            devices_table(&devices, &[None; 3]),
            "device topology        :\ndevice           node\nNo device topology data available\n"
        );
    }
}
