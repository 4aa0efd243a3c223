// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of clients that break the rules, and of others that must not be affected.

use super::*;

#[test]
fn a_malformed_packet_disconnects_its_sender_only() {
    let mut bed = Bed::new();
    let other = bed.client();
    let good = noxs_control::encode(&Request::Status).unwrap();
    let null = File::open("/dev/null").unwrap();
    let cut = &good[..good.len() - 1];
    let long = vec![noxs_control::PROTOCOL; noxs_control::MAX_PACKET + 1];
    for packet in [&[9][..], &[noxs_control::PROTOCOL, 0xff], cut, &long] {
        let client = bed.client();
        assert_eq!(bed.send(&client, packet, &[]), None);
        assert!(is_closed(&client));
    }
    let client = bed.client();
    let files = [null.as_raw_fd(); noxs_control::MAX_FILES + 1];
    assert_eq!(bed.send(&client, &good, &files), None);
    assert!(is_closed(&client));
    assert_eq!(bed.send(&other, &good, &[]), Some(Reply::Status(Vec::new())));
}

#[test]
fn the_longest_silent_client_is_disconnected_if_there_are_too_many() {
    let mut bed = Bed::new();
    let first = bed.client();
    let second = bed.client();
    let mut others: Vec<OwnedFd> = (2..MAX_CLIENTS).map(|_| bed.client()).collect();
    assert!(bed.ask(&first, &Request::Status, &[]).is_some());
    others.push(bed.client());
    assert!(is_closed(&second));
    assert!(bed.ask(&first, &Request::Status, &[]).is_some());
    assert!(bed.ask(others.last().unwrap(), &Request::Status, &[]).is_some());
}

#[test]
fn a_client_that_takes_no_replies_is_not_read_from() {
    let mut bed = Bed::new();
    let silent = bed.client();
    let request = noxs_control::encode(&Request::Status).unwrap();
    let mut sent = 0;
    while send(silent.as_raw_fd(), &request, MsgFlags::MSG_NOSIGNAL).is_ok() {
        sent += 1;
        bed.run();
        assert!(sent < 100_000, "the socket is never full");
    }
    let other = bed.client();
    assert!(bed.ask(&other, &Request::Status, &[]).is_some());
    // The client gets all replies once it reads them.
    let mut replies = 0;
    while replies < sent {
        while receive(&silent).is_some() {
            replies += 1;
        }
        bed.run();
    }
}

#[test]
fn watches_and_consoles_leave_room_for_requests() {
    let mut bed = Bed::new();
    let mut watches = Vec::new();
    for number in 0..=MAX_PINNED {
        let watch = bed.client();
        let reply = bed.ask(&watch, &Request::Watch, &[]);
        let refused = matches!(reply, Some(Reply::Refused(Refusal::Invalid(_))));
        assert_eq!(refused, number == MAX_PINNED, "watch {number}: {reply:?}");
        watches.push(watch);
    }
    let others: Vec<OwnedFd> = (0..MAX_CLIENTS).map(|_| bed.client()).collect();
    assert!(bed.ask(others.last().unwrap(), &Request::Status, &[]).is_some());
    assert!(watches[..MAX_PINNED].iter().all(|watch| !is_closed(watch)));
}
