// SPDX-License-Identifier: MIT OR Apache-2.0
//! Incomplete requests of many connections: together they hold at most half of the free memory.

use redis_engine::{Output, Session};

use crate::limited::{LIMIT, OOM, Server, limited};

/// A connection beside the server's own, and its unsent replies.
struct Peer {
    session: Session,
    output: Output,
}

impl Peer {
    fn connect(server: &mut Server, id: u64) -> Self {
        limited(|| Self { session: Session::new(id, &mut server.store), output: Output::default() })
    }

    /// Sends bytes, and returns the replies.
    fn send(&mut self, server: &mut Server, bytes: &[u8]) -> Vec<u8> {
        limited(|| self.session.feed(&mut server.store, 0, bytes, &mut self.output));
        let reply = self.output.bytes().to_vec();
        limited(|| self.output.sent(self.output.len()));
        reply
    }
}

/// Closes the connections with the largest requests until all hold no more than their share, as the
/// guest does. Returns the numbers of those that are closed.
fn close_largest(server: &Server, peers: &mut Vec<(usize, Peer)>) -> Vec<usize> {
    let mut closed = Vec::new();
    while server.store.requests_exceed_their_share() {
        let held = |peer: &Peer| peer.session.held_by_request();
        let at = (0..peers.len()).max_by_key(|at| held(&peers[*at].1)).unwrap();
        assert!(held(&peers[at].1) > 0);
        let (number, peer) = peers.remove(at);
        limited(|| drop(peer));
        closed.push(number);
    }
    closed
}

/// Ten peers announce values of 150,000 bytes, and one a larger one; none sends them.
#[test]
fn announced_values_leave_half_of_the_memory_to_others() {
    let mut server = Server::with_small_value();
    let (free, mut peers, mut closed) = (LIMIT - server.used(), Vec::new(), Vec::new());
    for number in 0..11 {
        let mut peer = Peer::connect(&mut server, 2 + u64::try_from(number).unwrap());
        let length = if number == 3 { 200_000 } else { 150_000 };
        let request = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${length}\r\nvalue");
        assert_eq!(peer.send(&mut server, request.as_bytes()), b"");
        assert!(peer.session.held_by_request() >= length);
        peers.push((number, peer));
        closed.extend(close_largest(&server, &mut peers));
    }
    assert_eq!(closed[0], 3, "the largest is closed first: {closed:?}");
    let held: usize = peers.iter().map(|(_, peer)| peer.session.held_by_request()).sum();
    assert!(held > free / 4 && held <= free / 2, "{held} of {free} bytes");
    // Another client is served meanwhile.
    let value = vec![b'v'; 200_000];
    assert_eq!(server.ask(&[b"set", b"large", &value]), b"+OK\r\n");
    limited(|| peers.clear());
    assert!(!server.store.requests_exceed_their_share());
}

/// The data may grow while requests wait.
#[test]
fn requests_make_room_for_data() {
    let mut server = Server::with_small_value();
    let mut peer = Peer::connect(&mut server, 2);
    assert_eq!(peer.send(&mut server, b"*2\r\n$3\r\nGET\r\n$700000\r\n"), b"");
    assert!(!server.store.requests_exceed_their_share());
    for number in 0..200 {
        if server.store.requests_exceed_their_share() {
            assert!(number > 10);
            return;
        }
        assert_eq!(server.ask(&[b"set", &[number], &[b'v'; 4000]]), b"+OK\r\n");
    }
    panic!("a request keeps data out");
}

/// A request that would take more than half of the free memory by itself is answered.
#[test]
fn one_request_takes_at_most_half_of_the_memory() {
    let mut server = Server::with_small_value();
    let half = (LIMIT - server.used()) / 2;
    let value = vec![b'v'; half + 1000];
    assert_eq!(server.ask(&[b"echo", &value]), OOM);
    let value = vec![b'v'; half - 20_000];
    assert_eq!(server.ask(&[b"del", &value]), b":0\r\n");
}

/// A client that stays after a large command must not keep its memory.
#[test]
fn a_completed_request_holds_nothing() {
    let mut server = Server::with_small_value();
    let mut peer = Peer::connect(&mut server, 2);
    let before = server.used();
    let mut request = b"*2\r\n$3\r\nDEL\r\n$400000\r\n".to_vec();
    request.resize(request.len() + 400_000, b'k');
    assert_eq!(peer.send(&mut server, &request), b"");
    assert!(server.used() > before + 400_000);
    assert_eq!(peer.send(&mut server, b"\r\n"), b":0\r\n");
    assert_eq!(peer.session.held_by_request(), 0);
    assert!(server.used() < before + 16_000, "{} bytes are kept", server.used() - before);
}
