// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests with small traces. Times are in microseconds.

use super::{Stage, stages};
use crate::trace::events::{Event, Tid, What};

const BENCH: Tid = 10;
const XL: Tid = 20;
const STORE: Tid = 5;

fn at(at_us: u64, tid: Tid, what: What<'_>) -> Event<'_> {
    Event { at_us, tid, what }
}

fn switch(at_us: u64, tid: Tid, to: Tid, name: &str) -> Event<'_> {
    at(at_us, tid, What::Switch { ended: false, to, name })
}

fn hypercall<'a>(at_us: u64, tid: Tid) -> Event<'a> {
    at(at_us, tid, What::Ioctl { request: 0x30_5000 })
}

/// Returns xl's events until it has loaded the image: 10 us before it reads the config, 20 in the
/// config, 30 in libxl, 40 in loading.
fn beginning<'a>() -> Vec<Event<'a>> {
    vec![
        at(1, BENCH, What::Fork { child: XL }),
        switch(100, BENCH, XL, "figure"),
        at(105, XL, What::Exec),
        at(110, XL, What::Other("xlu_cfg_readdata")),
        at(130, XL, What::Other("libxl_domain_create_new")),
        at(160, XL, What::Other("xc_dom_build_image")),
        at(200, XL, What::Other("xc_dom_build_image_end")),
    ]
}

fn ending<'a>(at_us: u64) -> [Event<'a>; 2] {
    let ended = What::Switch { ended: true, to: 0, name: "swapper/0" };
    [at(at_us, XL, ended), switch(at_us + 7, 0, BENCH, "figure")]
}

/// Checks the microseconds of each stage that is not 0, and that all stages add up to the whole
/// time.
fn check(events: &[Event<'_>], expected: &[(Stage, u64)]) {
    let spent = stages(events, XL).expect("the trace is complete");
    let named = Stage::ALL.into_iter().zip(spent.map(|ns| ns / 1000));
    let named: Vec<(Stage, u64)> = named.filter(|(_, us)| *us > 0).collect();
    assert_eq!(named, expected);
    let first = events.iter().find(|event| event.tid == BENCH && event.at_us > 1);
    let first = first.expect("xl gets the CPU").at_us;
    let last = events.last().expect("xl exits").at_us;
    assert_eq!(spent.iter().sum::<u64>(), (last - first) * 1000);
}

#[test]
fn a_run_of_xl_alone_has_its_own_stages() {
    let mut events = beginning();
    events.extend(ending(203));
    let expected = [(Stage::Start, 10), (Stage::Config, 20), (Stage::Load, 40)];
    let rest = [(Stage::Toolstack, 33), (Stage::Rest, 7)];
    check(&events, &[expected.as_slice(), &rest].concat());
}

#[test]
fn a_hypercall_counts_only_while_its_task_has_the_cpu() {
    let mut events = beginning();
    events.extend([
        hypercall(210, XL),
        switch(212, XL, STORE, "xenstored"),
        hypercall(215, STORE),
        at(216, STORE, What::IoctlEnd),
        switch(232, STORE, XL, "xl"),
        at(240, XL, What::IoctlEnd),
        // A request to another driver.
        at(241, XL, What::Ioctl { request: 0x4_4504 }),
        at(249, XL, What::IoctlEnd),
    ]);
    events.extend(ending(250));
    check(
        &events,
        &[
            (Stage::Start, 10),
            (Stage::Config, 20),
            (Stage::Load, 40),
            (Stage::Toolstack, 30 + 10 + 10),
            (Stage::Hypervisor, 2 + 8),
            (Stage::XenStore, 20),
            (Stage::Rest, 7),
        ],
    );
}

#[test]
fn children_of_xl_are_toolstack_or_scripts() {
    let mut events = beginning();
    events.extend([
        at(200, XL, What::Fork { child: 21 }),
        at(200, XL, What::Fork { child: 22 }),
        // A thread of xl, or the process that it leaves behind.
        switch(200, XL, 21, "xl"),
        hypercall(203, 21),
        at(204, 21, What::IoctlEnd),
        // A script, counted from before its `execve`, and a child of it that executes no program.
        switch(210, 21, 22, "xl"),
        at(215, 22, What::Exec),
        hypercall(216, 22),
        at(217, 22, What::IoctlEnd),
        at(220, 22, What::Fork { child: 23 }),
        switch(220, 22, 23, "vif-bridge"),
        switch(240, 23, 7, "kworker/0:1"),
        switch(241, 7, 8, "xenwatch"),
        switch(242, 8, 9, "vif1.0-q0-guest"),
        switch(243, 9, 11, "xenbus"),
        switch(244, 11, 12, "xenconsoled"),
        switch(249, 12, XL, "xl"),
    ]);
    events.extend(ending(249));
    check(
        &events,
        &[
            (Stage::Start, 10),
            (Stage::Config, 20),
            (Stage::Load, 40),
            (Stage::Toolstack, 30 + 9),
            (Stage::Hypervisor, 1),
            (Stage::XenStore, 1),
            (Stage::Scripts, 40 - 10),
            (Stage::Drivers, 3),
            (Stage::Console, 5),
            (Stage::Rest, 7),
        ],
    );
}

#[test]
fn the_parent_may_have_the_cpu_before_xl_exits() {
    let mut events = beginning();
    events.extend([switch(200, XL, BENCH, "figure"), switch(203, BENCH, XL, "xl")]);
    events.extend(ending(203));
    let spent = stages(&events, XL).expect("the trace is whole");
    assert_eq!(spent.iter().sum::<u64>(), 110_000);
}

#[test]
fn an_incomplete_trace_is_refused() {
    let whole = || {
        let mut events = beginning();
        events.extend(ending(203));
        events
    };
    assert!(stages(&whole(), XL).is_ok());
    for missing in 0..whole().len() {
        // Only the `execve` may be missing.
        if whole()[missing].what != What::Exec {
            let mut events = whole();
            events.remove(missing);
            assert!(stages(&events, XL).is_err(), "without event {missing}");
        }
    }
    let mut disordered = whole();
    disordered[5].at_us = 120;
    assert!(stages(&disordered, XL).is_err());
}
