// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who gets a place when there are more clients than connections.

use super::*;

const SECOND: u64 = 1_000_000_000;

/// A world in which clients have all the connections that the service can get, and have sent
/// `bytes`.
fn crowded(bytes: &[u8]) -> (World, Vec<SocketHandle>) {
    let mut world = World::new(1 << 20);
    let most = world.server.connections.most_sessions();
    let handles: Vec<_> = (0..most).map(|_| world.connect()).collect();
    world.run(SECOND / 100);
    for handle in &handles {
        if !bytes.is_empty() {
            assert_eq!(echo(&mut world, *handle, bytes), bytes);
        }
        assert_eq!(world.socket(*handle).state(), State::Established);
    }
    (world, handles)
}

/// Lets time pass, in steps in which keep-alives and time-outs are served.
fn pass(world: &mut World, seconds: u64) {
    for _ in 0..seconds * 4 {
        world.run(SECOND / 4);
    }
}

/// Returns everything that has arrived for a client.
fn received(world: &mut World, handle: SocketHandle) -> Vec<u8> {
    world.run(SECOND / 100);
    world.run(SECOND / 100);
    let mut bytes = Vec::new();
    let socket = world.socket(handle);
    while socket.can_recv() {
        socket.recv(|part| (part.len(), bytes.extend_from_slice(part))).unwrap();
    }
    bytes
}

/// Returns the clients whose connections are open.
fn open(world: &mut World, handles: &[SocketHandle]) -> Vec<SocketHandle> {
    let is_open = |handle: &&SocketHandle| world.socket(**handle).state() == State::Established;
    handles.iter().filter(is_open).copied().collect()
}

#[test]
fn one_client_too_many_is_refused_with_the_reason() {
    let (mut world, handles) = crowded(b"here");
    for _ in 0..30 {
        let late = world.connect();
        assert_eq!(received(&mut world, late), REFUSAL);
        assert_eq!(world.socket(late).state(), State::CloseWait);
    }
    // No other client has noticed, and there is a place when one leaves.
    assert_eq!(open(&mut world, &handles), handles);
    world.socket(handles[0]).abort();
    world.run(1_000_000);
    let late = world.connect();
    assert_eq!(echo(&mut world, late, b"me too"), b"me too");
}

/// Clients that send half a request must not keep others out.
#[test]
fn incomplete_requests_leave_their_places_to_new_clients() {
    let (mut world, mut handles) = crowded(b"(half");
    pass(&mut world, 5);
    // Each new client gets the place of one of them, and completes a request.
    for _ in 0..handles.len() {
        let new = world.connect();
        assert_eq!(echo(&mut world, new, b"(whole)."), b"(whole).");
        let left = open(&mut world, &handles);
        assert_eq!(left.len(), handles.len() - 1);
        handles = left;
    }
    // Those are not idle for long enough to leave.
    let late = world.connect();
    assert_eq!(received(&mut world, late), REFUSAL);
}

/// More bytes of a request do not keep its place: only its end does.
#[test]
fn a_request_that_trickles_in_does_not_keep_its_place() {
    let (mut world, handles) = crowded(b"(half");
    for _ in 0..6 {
        for handle in &handles {
            assert_eq!(echo(&mut world, *handle, b"x"), b"x");
        }
        pass(&mut world, 1);
    }
    let new = world.connect();
    assert_eq!(echo(&mut world, new, b"new"), b"new");
}

#[test]
fn clients_that_never_send_anything_leave_first_and_then_idle_ones() {
    let (mut world, handles) = crowded(b"");
    for handle in &handles[1..] {
        assert_eq!(echo(&mut world, *handle, b"idle"), b"idle");
        world.run(SECOND / 100);
    }
    pass(&mut world, 59);
    let first = world.connect();
    assert_eq!(echo(&mut world, first, b"new"), b"new");
    assert_eq!(open(&mut world, &handles), handles[1..]);
    // One of the idle clients sends a request before its minute is over: the next one leaves.
    assert_eq!(echo(&mut world, handles[1], b"busy"), b"busy");
    pass(&mut world, 2);
    let second = world.connect();
    assert_eq!(echo(&mut world, second, b"new"), b"new");
    assert_eq!(open(&mut world, &handles), [&handles[1..2], &handles[3..]].concat());
}

/// With places for all, only incomplete requests end, because they hold memory.
#[test]
fn without_a_crowd_only_incomplete_requests_are_timed_out() {
    let mut world = World::new(1 << 20);
    let clients: Vec<_> = (0..4).map(|_| world.connect()).collect();
    assert_eq!(echo(&mut world, clients[1], b"idle"), b"idle");
    assert_eq!(echo(&mut world, clients[2], b"(half"), b"(half");
    assert_eq!(echo(&mut world, clients[3], b"(whole)."), b"(whole).");
    pass(&mut world, 59);
    assert_eq!(open(&mut world, &clients), clients);
    pass(&mut world, 2);
    assert_eq!(open(&mut world, &clients), [clients[0], clients[1], clients[3]]);
    assert_eq!(world.socket(clients[2]).state(), State::CloseWait);
    pass(&mut world, 600);
    assert_eq!(open(&mut world, &clients), [clients[0], clients[1], clients[3]]);
    assert_eq!(echo(&mut world, clients[1], b"still here"), b"still here");
}

#[test]
fn half_open_connections_are_evicted_for_a_real_client() {
    let mut world = World::new(1 << 20);
    let capacity = world.server.connections.capacity();
    let first = world.connect();
    assert_eq!(echo(&mut world, first, b"first"), b"first");
    // Clients that send a SYN and nothing more.
    for _ in 1..capacity {
        let handle = world.connect();
        let time = Time::from_micros(i64::try_from(world.now / 1000).unwrap());
        world.client.poll_egress(time, &mut world.cable, &mut world.sockets);
        world.sockets.remove(handle);
        let frame = world.cable.sent.pop_front().expect("SYN");
        assert!(world.backend.deliver(&frame));
        while world.server.round(Instant::from_nanos(world.now)).is_none() {}
        let mut answers = VecDeque::new();
        world.backend.take(&mut answers);
        assert_eq!(answers.len(), 1);
    }
    assert!(world.server.connections.slots.iter().all(|slot| slot.used));
    let handle = world.connect();
    assert_eq!(echo(&mut world, handle, b"real"), b"real");
}

/// Together, incomplete requests may have 10,000 bytes.
#[test]
fn the_largest_incomplete_requests_are_closed_when_they_hold_too_much() {
    let mut world = World::new(1 << 20);
    let handles: Vec<_> = (0..4).map(|_| world.connect()).collect();
    world.run(SECOND / 100);
    for (handle, length) in handles.iter().zip([3000, 4000, 2900, 50]) {
        let bytes = [b"(".as_slice(), &pattern_of_letters(length)].concat();
        assert_eq!(echo(&mut world, *handle, &bytes), bytes);
    }
    assert_eq!(open(&mut world, &handles), handles);
    // These bytes exceed the limit. The largest request is another client's.
    assert_eq!(echo(&mut world, handles[3], &pattern_of_letters(200)), pattern_of_letters(200));
    world.run(SECOND / 100);
    assert_eq!(open(&mut world, &handles), [handles[0], handles[2], handles[3]]);
    // The client learns it by a reset: it may be sending.
    assert_eq!(world.socket(handles[1]).state(), State::Closed);
    assert!(world.server.service.held.get() < 10_000);
    // Now the one whose bytes exceed the limit has the largest request itself.
    let bytes = pattern_of_letters(6000);
    let mut sent = 0;
    for _ in 0..20 {
        let socket = world.socket(handles[3]);
        if socket.can_send() {
            sent += socket.send_slice(&bytes[sent..]).unwrap();
        }
        world.run(SECOND / 100);
    }
    assert_eq!(open(&mut world, &handles), [handles[0], handles[2]]);
    // A request that is completed holds nothing.
    assert_eq!(echo(&mut world, handles[0], b"."), b".");
    assert_eq!(world.server.service.held.get(), 2901);
    // Their slots are free again.
    assert_eq!(world.server.connections.slots.iter().filter(|slot| slot.used).count(), 2);
}

/// Returns bytes that neither begin nor end a request.
fn pattern_of_letters(length: usize) -> Vec<u8> {
    (0..length).map(|index| b'a' + (index % 26) as u8).collect()
}
