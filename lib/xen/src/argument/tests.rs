// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a structure says about its memory is never more than there is.

use super::*;

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
