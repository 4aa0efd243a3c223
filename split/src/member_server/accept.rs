// SPDX-License-Identifier: GPL-3.0-or-later
//! The thread that accepts the connections of members, and refuses those that have no place.

use std::io::{self, ErrorKind};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use chaos::clients::chaosd::protocol;
use chaos::failure::FailureClass;
use daemon::packet;

use super::connection::Connection;
use super::places::Held;
use super::{Order, Shared, subordinate};
use crate::members::ROOT;
use crate::server::{Peer, peer, refused};

/// Stack of a connection's thread in bytes: it decodes one request of at most a packet.
const STACK: usize = 256 << 10;

/// Starts the thread, which ends after [`Places::stop`](super::places::Places::stop).
///
/// # Errors
/// It cannot be started.
pub(super) fn start(
    listener: UnixListener,
    shared: Arc<Shared>,
    orders: Sender<Order>,
) -> io::Result<()> {
    shared.places.listens(&listener);
    thread::Builder::new().name("members".into()).spawn(move || {
        let mut log = RefusalLog::default();
        while let Some(socket) = next(&listener, &shared) {
            admit(socket, &shared, &orders, &mut log);
        }
        shared.places.closes();
    })?;
    Ok(())
}

/// Waits for a connection. `None` if no more are accepted.
fn next(listener: &UnixListener, shared: &Shared) -> Option<UnixStream> {
    loop {
        match listener.accept() {
            Ok((socket, _)) => return Some(socket),
            // The socket was shut down.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return None,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                ) => {}
            Err(error) => {
                tracing::warn!("cannot accept a connection of a user other than root: {error}");
                // Too many open files, or no memory, of which a connection that ends frees some.
                shared.places.wait_for_end();
            }
        }
    }
}

/// Starts the thread of a connection, or one that says why it is refused and closes it.
fn admit(
    mut socket: UnixStream,
    shared: &Arc<Shared>,
    orders: &Sender<Order>,
    log: &mut RefusalLog,
) {
    let found = peer(&socket);
    let uid = found.map_or(ROOT, |peer| peer.uid);
    let message = match found {
        None => "the kernel does not say who has connected".to_owned(),
        Some(Peer { uid: ROOT, .. }) => format!(
            "root connects to {}; this socket is for other users",
            chaos::clients::chaosd::SOCKET
        ),
        Some(peer) => match subordinate::check(&shared.subordinate_users, peer.uid) {
            Err(refusal) => refusal.to_string(),
            Ok(()) => match shared.places.admit(peer.uid, socket) {
                Ok(held) => {
                    let (shared, orders) = (Arc::clone(shared), orders.clone());
                    spawn(held, move |held| Connection::new(held, peer, shared, orders).run());
                    return;
                }
                Err((refused, refusal)) => {
                    socket = refused;
                    refusal.to_string()
                }
            },
        },
    };
    match log.refused(Instant::now()) {
        None => {}
        Some(0) => tracing::info!("refused a connection: {message}"),
        Some(more) => {
            tracing::info!(
                "refused a connection, and {more} others since the last line: {message}"
            );
        }
    }
    let held = shared.places.refuse(uid, socket, |largest| {
        // The user decides how often that happens.
        if shared.lines.allows(largest) {
            tracing::warn!(
                "no user other than root can connect to chaosd until one of their connections is \
                 closed, and user {largest}, who has most, does not let them close; remove the user \
                 from the group, and end the user's processes: pkill -KILL -U {largest}"
            );
        }
    });
    spawn(held, move |held| {
        if let Some(packet) = protocol::encode(&refused(FailureClass::Failed, message)) {
            // A client that cannot take it only sees the end.
            let _ = packet::send(&held.socket, &packet, &[]);
        }
    });
}

/// The least time between two lines about refused connections: a client that connects in a loop would fill
/// the log.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Counts refused connections that the log does not mention.
#[derive(Debug, Default)]
struct RefusalLog {
    last: Option<Instant>,
    unmentioned: u64,
}

impl RefusalLog {
    /// Counts a connection. Returns how many others were not mentioned before, if it is time for a
    /// line.
    fn refused(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < LOG_INTERVAL) {
            self.unmentioned += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unmentioned))
    }
}

/// Runs `action` in a thread of its own, in which the connection is closed.
fn spawn(held: Held, action: impl FnOnce(Held) + Send + 'static) {
    let thread = thread::Builder::new().name("member".into()).stack_size(STACK);
    if let Err(error) = thread.spawn(move || action(held)) {
        tracing::warn!("disconnected a user other than root: cannot start a thread: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_connections_take_one_line_a_second() {
        let (mut log, now) = (RefusalLog::default(), Instant::now());
        assert_eq!(log.refused(now), Some(0));
        for _ in 0..100 {
            assert_eq!(log.refused(now + LOG_INTERVAL / 2), None);
        }
        assert_eq!(log.refused(now + LOG_INTERVAL), Some(100));
        assert_eq!(log.refused(now + 2 * LOG_INTERVAL), Some(0));
    }
}
