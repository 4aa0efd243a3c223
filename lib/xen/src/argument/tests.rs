// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a structure says about its memory is never more than there is.

use super::*;

#[test]
fn lengths_never_exceed_what_there_is() {
    let mut topology = sysctl::CpuTopoInfo::default();
    topology.point_to(1, 35);
    assert_eq!(topology.num_cpus, 2);
    let mut distances = sysctl::NumaDistances { meminfo: 7, ..Default::default() };
    // Room for 8 numbers, of which a square of 2 by 2 fits.
    distances.point_to(1, 35);
    assert_eq!((distances.num_nodes, distances.meminfo), (2, 0));
    let mut devices = sysctl::PciTopoInfo::default();
    // Room for 4 devices and their nodes.
    devices.point_to(100, 39);
    assert_eq!((devices.num_devs, devices.devs, devices.nodes), (4, 100, 116));
    let mut pool = sysctl::CpupoolOp::default();
    pool.point_to(1, 3);
    assert_eq!(pool.cpumap.nr_bits, 24);
    pool.point_to(1, 1 << 29);
    assert_eq!(pool.cpumap.nr_bits.div_ceil(8), 1 << 29);
    assert_eq!(pool.cpumap.nr_bits, u32::MAX);
}

#[test]
fn an_affinity_has_one_address_whatever_its_flags() {
    let (hard, soft) = (domctl::XEN_VCPUAFFINITY_HARD, domctl::XEN_VCPUAFFINITY_SOFT);
    for (flags, addresses) in [(hard, (9, 0)), (soft, (0, 9)), (hard | soft, (9, 0)), (0, (0, 9))] {
        let stale = Bitmap { bitmap: 7, nr_bits: 7, pad: 0 };
        let (cpumap_hard, cpumap_soft) = (stale, stale);
        let mut raw = domctl::VcpuAffinity { vcpu: 0, flags, cpumap_hard, cpumap_soft };
        raw.point_to(9, 1);
        assert_eq!((raw.cpumap_hard.bitmap, raw.cpumap_soft.bitmap), addresses);
    }
}

#[test]
fn the_build_id_is_limited_to_its_room() {
    let mut raw = version::BuildId { len: u32::MAX, buf: [0; version::BUILD_ID_SIZE] };
    raw.limit();
    assert_eq!(raw.len as usize, version::BUILD_ID_SIZE);
}

#[test]
#[should_panic(expected = "command 3 of scheduler_op")]
fn a_command_whose_union_holds_an_address_is_not_sent() {
    domctl::SchedulerOp { cmd: 3, ..Default::default() }.check();
}

#[test]
#[should_panic(expected = "scheduler 7")]
fn a_scheduler_whose_union_holds_an_address_is_not_sent() {
    let sched_id = domctl::XEN_SCHEDULER_ARINC653;
    sysctl::SchedulerOp { sched_id, ..Default::default() }.check();
}
