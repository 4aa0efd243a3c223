// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of requests and their answers.

use super::*;

#[test]
fn a_domain_is_attached_listed_and_detached() {
    let mut bed = Bed::new();
    bed.domains.host.guest(1);
    let client = bed.client();
    let id = attach(1).id;
    let log = bed.log();
    assert_eq!(
        bed.ask(&client, &Request::Detach(id), &[]),
        Some(Reply::Refused(Refusal::NoDevice))
    );
    let request = Request::Attach(attach(1));
    assert_eq!(bed.ask(&client, &request, &[log.as_raw_fd()]), Some(Reply::Done));
    assert_eq!(bed.domains.host.bound.len(), 2);
    assert_eq!(bed.domains.status(id).unwrap().devices.len(), 2);
    assert_eq!(bed.ask(&client, &Request::Status, &[]), Some(Reply::Status(Vec::new())));
    assert_eq!(bed.ask(&client, &Request::Detach(id), &[]), Some(Reply::Done));
    assert!(bed.domains.host.bound.is_empty());
}

#[test]
fn files_of_the_wrong_kind_are_refused() {
    let mut bed = Bed::new();
    bed.domains.host.guest(1);
    let client = bed.client();
    let null = File::open("/dev/null").unwrap();
    let attach = Request::Attach(attach(1));
    let switch = Request::AddSwitch { bridge: "br1".into() };
    for (request, files) in [
        (&attach, &[][..]),
        (&attach, &[null.as_raw_fd()]),
        (&switch, &[]),
        (&switch, &[null.as_raw_fd()]),
    ] {
        let reply = bed.ask(&client, request, files);
        assert!(matches!(reply, Some(Reply::Refused(Refusal::Invalid(_)))), "{reply:?}");
    }
    assert!(bed.domains.host.bound.is_empty());
}

#[test]
fn watchers_are_notified_and_the_interrupt_is_released() {
    let mut bed = Bed::new();
    let mut session = Session { registry: &bed.registry, domain_exception: None };
    let now = Instant::now();
    let from = || session::From { client: ClientId(0), files: Vec::new() };
    for _ in 0..2 {
        let answer = session.answer(Request::Watch, from(), &mut bed.domains, &mut bed.server, now);
        assert!(matches!(answer, Answer::Watch));
    }
    assert_eq!(bed.domains.host.bound.len(), 1, "bound once");
    // No connection is a watch, so the next turn releases the interrupt.
    bed.server.turn(&mut bed.domains, &mut session, now);
    assert!(bed.domains.host.bound.is_empty());

    let watcher = bed.client();
    assert_eq!(bed.ask(&watcher, &Request::Watch, &[]), Some(Reply::Done));
    bed.server.notify_watchers();
    assert_eq!(receive(&watcher), Some(vec![0]));
}

#[test]
fn a_watch_for_devices_is_notified_once_when_a_guest_breaks_its_console() {
    let mut bed = Bed::new();
    let (console, port) = bed.console();
    let watcher = bed.client();
    assert_eq!(bed.ask(&watcher, &Request::WatchDevices, &[]), Some(Reply::Done));
    bed.print(port, b"x");
    assert_eq!(receive(&watcher), None, "the console works");
    frontend::set_output_index(&bed.domains.host.pages[&(1, 1)].clone(), 1 << 20);
    bed.domains.event(port);
    bed.run();
    assert!(is_closed(&console) || receive(&console).is_some());
    assert_eq!(receive(&watcher), Some(vec![0]));
    assert_eq!(receive(&watcher), None);
    let client = bed.client();
    let Some(Reply::Status(domains)) = bed.ask(&client, &Request::Status, &[]) else {
        panic!("no status")
    };
    assert_eq!((domains.len(), domains[0].id), (1, attach(1).id));
    assert!(domains[0].devices[0].broken.is_some());
}
