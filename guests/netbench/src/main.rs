// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that sends frames to another guest, or counts those that it receives: see README.md.

#![no_std]
#![no_main]

extern crate alloc;

use netbench::count::{Counted, Counter};
use netbench::frame::{self, Station};
use netbench::options::{self, Options};
use unikernel::net::{For, RawInterface};
use unikernel::{Guest, Instant, println, wait};

unikernel::guest!(main);

fn main(mut guest: Guest) {
    let options = match options::parse(guest.command_line()) {
        Ok(options) => options,
        Err(error) => panic!("netbench: {error}"),
    };
    let mut interface = match RawInterface::open(&mut guest, 0) {
        Ok(interface) => interface,
        Err(error) => panic!("netbench: {error}"),
    };
    match options {
        Options::Send { size, to } => send(&mut interface, size, to),
        Options::Receive { skip, count } => receive(&mut interface, Counter::new(skip, count)),
    }
}

/// Sends frames as fast as the backend takes them.
fn send(interface: &mut RawInterface, size: usize, to: Station) -> ! {
    let vif = interface.vif();
    let Some(ipv4) = vif.ipv4 else {
        panic!("netbench: no address: add ip=ADDRESS/PREFIX to the vif")
    };
    let from = Station { mac: vif.mac, address: ipv4.address };
    let longest = interface.longest();
    assert!(
        size <= longest,
        "netbench: size={size}: must be at most {longest}, as the vif's mtu says"
    );
    let mut frame = frame::new(from, to, size);
    println!("netbench: sending frames of {size} bytes");
    let mut number = 0;
    loop {
        frame::number(&mut frame, number);
        if interface.send(&frame) {
            number += 1;
        } else {
            interface.wait(For::Room, None);
        }
    }
}

/// Counts frames, prints a line, and then only drops what comes.
fn receive(interface: &mut RawInterface, mut counter: Counter) -> ! {
    println!("netbench: ready");
    let begin = Instant::now();
    loop {
        while let Some(frame) = interface.receive() {
            if let Some(number) = frame::read(frame) {
                counter.receive(number);
            }
        }
        let now = || u64::try_from(Instant::now().since(begin).as_nanos()).unwrap_or(u64::MAX);
        if let Some(Counted { frames, lost, nanoseconds }) = counter.look(now) {
            println!("netbench: frames={frames} lost={lost} nanoseconds={nanoseconds}");
            // The sender goes on: what comes from now on finds no buffer.
            loop {
                wait(&[], None);
            }
        }
        interface.wait(For::Frame, None);
    }
}
