// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of connections to consoles.

use super::*;

#[test]
fn a_console_carries_bytes_both_ways_to_one_client() {
    let mut bed = Bed::new();
    let (client, port) = bed.console();
    let late = bed.client();
    let request = Request::Console(attach(1).id);
    assert_eq!(bed.ask(&late, &request, &[]), Some(Reply::Refused(Refusal::ConsoleBusy)));
    bed.print(port, b"login: ");
    assert_eq!(receive(&client).as_deref(), Some(&b"login: "[..]));
    send(client.as_raw_fd(), b"root\r", MsgFlags::empty()).unwrap();
    bed.run();
    let page = bed.domains.host.pages[&(1, 1)].clone();
    assert_eq!(frontend::input(&page), b"root\r");
    drop(client);
    bed.run();
    assert_eq!(bed.ask(&late, &request, &[]), Some(Reply::Done));
    bed.domains.detach(attach(1).id, &mut bed.server).unwrap();
    bed.run();
    assert!(is_closed(&late));
}

#[test]
fn a_console_client_that_does_not_read_loses_the_oldest() {
    /// Less than a console may print at once, and more than the socket and the server keep.
    const PRINTS: u8 = 130;
    let mut bed = Bed::new();
    let (client, port) = bed.console();
    for number in 0..PRINTS {
        bed.print(port, &[b'a' + number % 26; 2000]);
    }
    let mut all = Vec::new();
    while let Some(packet) = receive(&client) {
        all.extend(packet);
        bed.run();
    }
    let note = b"bytes of output lost]";
    assert!(all.windows(note.len()).any(|window| window == note));
    assert!(all.ends_with(&[b'a' + (PRINTS - 1) % 26; 2000]), "the newest output arrives");
    assert!(all.len() < 2000 * usize::from(PRINTS));
}

#[test]
fn input_that_the_guest_does_not_take_waits_in_the_socket() {
    let mut bed = Bed::new();
    let (client, port) = bed.console();
    let mut sent = Vec::new();
    for number in 0..12_u8 {
        let packet = [number; 1000];
        if send(client.as_raw_fd(), &packet, MsgFlags::empty()).is_ok() {
            sent.extend(packet);
        }
        bed.run();
    }
    let page = bed.domains.host.pages[&(1, 1)].clone();
    let mut arrived = Vec::new();
    loop {
        let input = frontend::input(&page);
        if input.is_empty() {
            break;
        }
        arrived.extend(input);
        bed.domains.event(port);
        bed.run();
    }
    assert_eq!(arrived, sent);
}

#[test]
fn a_client_that_leaves_frees_the_console_though_the_guest_takes_no_input() {
    let mut bed = Bed::new();
    let (client, _) = bed.console();
    for _ in 0..12 {
        let _ = send(client.as_raw_fd(), &[b'x'; 1000], MsgFlags::empty());
        bed.run();
    }
    drop(client);
    bed.run();
    let next = bed.client();
    let request = Request::Console(attach(1).id);
    assert_eq!(bed.ask(&next, &request, &[]), Some(Reply::Done));
}
