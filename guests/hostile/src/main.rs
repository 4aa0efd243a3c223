// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that misbehaves as its command line says. Tests check that it harms no other guest.

#![no_std]
#![no_main]

extern crate alloc;

mod attack;
mod chains;
mod floods;
mod frames;
mod neighbours;
mod raw;
mod transmit;

use unikernel::{Guest, println, wait};
use xen_abi::PAGE_SIZE;
use xen_abi::io::console::{OUT_CONS, OUT_PROD};
use xen_abi::io::netif::{NETTXF_CSUM_BLANK, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA, TxRequest};
use xen_ring::{RawPage, SharedPage};

use crate::frames::Frame;
use crate::transmit::Transmit;

unikernel::guest!(main);

fn main(guest: Guest) {
    if let Some(name) = guest.command_line().strip_prefix("attack ") {
        attack::carry_out(&guest, name);
    }
    match guest.command_line() {
        "seal" => seal(&guest),
        "panic" => panic!("hostile: this guest panics on purpose"),
        "ring-index" => ring_index(&guest),
        "bad-grants" => bad_grants(&guest),
        "spoof" => spoof(&guest, &frames::spoofed(&guest), &frames::arp_request(&guest)),
        "spoof-ipv6" => {
            spoof(&guest, &neighbours::spoofed(&guest), &neighbours::solicitation(&guest));
        }
        "flood" => flood(),
        "spin" => spin(),
        "broadcast-flood" => floods::broadcast(&guest),
        "unicast-flood" => floods::unicast(&guest),
        "restless-flood" => floods::restless(&guest),
        "refused-flood" => floods::refused(&guest),
        "spoof-flood" => floods::spoofed(&guest),
        "event-storm" => floods::storm(&guest),
        "console-index" => console_index(&guest),
        "bad-chains" => chains::refused(&guest),
        other if chains::fatal(&guest, other) => {}
        other => panic!("hostile: cmdline {other:?} is not a known misbehaviour; see hostile.cfg"),
    }
    loop {
        wait(&[], None);
    }
}

/// Writes to each word of the device page, and first to a writable page, to show that stores work.
fn seal(guest: &Guest) {
    let ring = raw::vif(guest).receive_ring;
    assert_ne!(changed_words(&ring, PAGE_SIZE - 8..PAGE_SIZE), 0, "hostile: stores have no effect");
    match changed_words(&raw::device_page(guest), 0..PAGE_SIZE) {
        0 => println!("hostile: the page is unchanged"),
        changed => println!("hostile: the page has changed in {changed} words"),
    }
}

/// Stores to each word of a part of a page, and returns how many have changed.
fn changed_words(page: &RawPage, bytes: core::ops::Range<usize>) -> usize {
    let change = |offset: &usize| {
        let before = page.load(*offset);
        page.store(*offset, !before);
        page.load(*offset) != before
    };
    bytes.step_by(4).filter(change).count()
}

/// Publishes more requests than the transmit ring has slots.
fn ring_index(guest: &Guest) {
    println!("hostile: the transmit ring gets an impossible index");
    Transmit::new(guest).publish(0x4000_0000);
}

/// Publishes more output than the console's ring holds.
fn console_index(guest: &Guest) {
    println!("hostile: the console gets an impossible index");
    let (ring, port) = raw::console(guest);
    let produced = ring.load(OUT_PROD);
    // Wait until the backend has read the line above: it is lost otherwise.
    while ring.load(OUT_CONS) != produced {
        wait(&[port], None);
    }
    ring.store(OUT_PROD, produced.wrapping_add(0x8000_0000));
    port.notify();
}

/// Prints without end.
fn flood() {
    println!("hostile: the flood begins");
    for line in 0u64.. {
        println!("hostile: line {line} of a flood without an end");
    }
}

/// Keeps its vCPU busy and never handles an event.
fn spin() {
    println!("hostile: spinning");
    loop {
        core::hint::spin_loop();
    }
}

/// Sends requests for frames that it has not granted, that cross the end of a page, or that have no
/// checksum to compute. All must be refused, and a valid one must succeed afterwards.
fn bad_grants(guest: &Guest) {
    let mut transmit = Transmit::new(guest);
    let good = transmit.place(0, &frames::arp_request(guest));
    let with = |change: fn(&mut TxRequest)| {
        let mut request = good;
        change(&mut request);
        request
    };
    let bad = [
        // Reserved, unused, beyond the end of this guest's table, beyond any table.
        with(|request| request.gref = 0),
        with(|request| request.gref = 500),
        with(|request| request.gref = 100_000),
        with(|request| request.gref = i32::MAX as u32),
        with(|request| request.gref = u32::MAX),
        // Past the end of the page, and past 16 bits.
        with(|request| request.offset = 4090),
        with(|request| request.offset = 4096),
        with(|request| request.offset = u16::MAX),
        with(|request| (request.offset, request.size) = (u16::MAX, u16::MAX)),
        with(|request| (request.offset, request.size) = (4095, 2)),
        // Shorter than a header, or longer than the MTU allows.
        with(|request| request.size = 0),
        with(|request| request.size = 13),
        with(|request| (request.offset, request.size) = (0, 1515)),
        with(|request| (request.offset, request.size) = (0, u16::MAX)),
        // ARP has no checksum that could be blank.
        with(|request| request.flags = NETTXF_CSUM_BLANK),
        with(|request| request.flags = !(NETTXF_MORE_DATA | NETTXF_EXTRA_INFO)),
    ];
    let refused = transmit.send(&bad).iter().filter(|status| **status < 0).count();
    println!("hostile: {refused} of {} bad requests were refused", bad.len());
    let status = transmit.send(&[good])[0];
    println!("hostile: the good request was answered with {status}");
}

/// Sends frames with false addresses, and then a good one.
fn spoof(guest: &Guest, spoofed: &[Frame], good: &Frame) {
    let mut transmit = Transmit::new(guest);
    let count = spoofed.len();
    let mut requests = alloc::vec::Vec::new();
    for (number, frame) in spoofed.iter().chain([good]).enumerate() {
        requests.push(transmit.place(number, frame));
    }
    let answers = transmit.send(&requests);
    println!("hostile: {count} spoofed frames and a good one are sent: {answers:?}");
}
