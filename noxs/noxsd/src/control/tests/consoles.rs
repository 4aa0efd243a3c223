// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of connections to consoles.

use super::*;

#[test]
fn a_console_carries_bytes_both_ways() {
    let mut bed = Bed::new();
    let (client, port) = bed.console();
    bed.print(port, b"login: ");
    assert_eq!(receive(&client).as_deref(), Some(&b"login: "[..]));
    send(client.as_raw_fd(), b"root\r", MsgFlags::empty()).unwrap();
    bed.run();
    let page = bed.domains.host.pages[&(1, 1)].clone();
    assert_eq!(frontend::input(&page), b"root\r");
    bed.domains.detach(attach(1).id, &mut bed.server).unwrap();
    bed.run();
    assert!(is_closed(&client));
}

#[test]
fn the_second_terminal_reads_until_the_first_has_left() {
    let mut bed = Bed::new();
    let (first, port) = bed.console();
    let second = bed.client();
    let reply = bed.ask(&second, &console(ConsoleUse::Terminal), &[]);
    assert_eq!(reply, Some(Reply::Console(ConsoleRole::Reader)));
    bed.print(port, b"login: ");
    for client in [&first, &second] {
        assert_eq!(receive(client).as_deref(), Some(&b"login: "[..]));
    }
    let page = bed.domains.host.pages[&(1, 1)].clone();
    send(second.as_raw_fd(), b"dropped\r", MsgFlags::empty()).unwrap();
    bed.run();
    assert_eq!(frontend::input(&page), b"");
    drop(first);
    bed.run();
    assert_eq!(receive(&second).as_deref(), Some(NOW_TYPES));
    send(second.as_raw_fd(), b"root\r", MsgFlags::empty()).unwrap();
    bed.run();
    assert_eq!(frontend::input(&page), b"root\r");
}

#[test]
fn no_line_is_lost_between_two_terminals() {
    let mut bed = Bed::new();
    let (first, port) = bed.console();
    bed.print(port, b"one\n");
    assert_eq!(receive(&first).as_deref(), Some(&b"one\n"[..]));
    drop(first);
    bed.run();
    let lines: Vec<String> = (0..2000).map(|number| format!("line {number:05}\n")).collect();
    for line in &lines {
        bed.print(port, line.as_bytes());
    }
    let all = |bed: &mut Bed, client: &OwnedFd| {
        let mut text = Vec::new();
        while let Some(packet) = receive(client) {
            text.extend(packet);
            bed.run();
        }
        String::from_utf8(text).unwrap()
    };
    let second = bed.client();
    assert!(bed.ask(&second, &console(ConsoleUse::Terminal), &[]).is_some());
    bed.print(port, b"live\n");
    assert_eq!(all(&mut bed, &second), lines.concat() + "live\n");

    let log = bed.client();
    let reply = bed.ask(&log, &console(ConsoleUse::Log), &[]);
    assert_eq!(reply, Some(Reply::Console(ConsoleRole::Reader)));
    assert_eq!(all(&mut bed, &log), format!("one\n{}live\n", lines.concat()));
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
    let reply = bed.ask(&next, &console(ConsoleUse::Terminal), &[]);
    assert_eq!(reply, Some(Reply::Console(ConsoleRole::Writer)));
}
