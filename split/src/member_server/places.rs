// SPDX-License-Identifier: GPL-3.0-or-later
//! How many connections there are, and of whom.
//!
//! `unsafe`: a connection's thread owns its socket, and another one looks whether there is something
//! to receive.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mio::Waker;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};

use crate::line_limit::LineLimit;
use crate::settings::MemberLimits;

/// The most connections of users other than root that are served at the same time.
pub const MEMBER_CLIENTS: usize = 48;

/// The most threads for connections: those that are served, and those that are being closed, which
/// can take as long as their users want.
pub const MAX_THREADS: usize = MEMBER_CLIENTS + 16;

/// The connections, shared by their threads, the one that accepts them, and the main thread. No
/// thread waits while it holds the lock.
#[derive(Debug)]
pub(super) struct Places {
    state: Mutex<State>,
    /// Signals that a place is free, or that no more connections are accepted.
    changed: Condvar,
    /// Wakes the main thread, which waits for the last connection after [`Places::stop`].
    waker: Arc<Waker>,
    lines: LineLimit,
}

#[derive(Debug)]
struct State {
    connections: HashMap<u64, Connection>,
    limits: MemberLimits,
    next: u64,
    /// Counts connections and packets.
    clock: u64,
    /// The listening socket, while it is open.
    listener: Option<RawFd>,
    stops: bool,
}

#[derive(Debug)]
struct Connection {
    uid: u32,
    stage: Stage,
    /// The time of its last packet, on [`State::clock`].
    heard: u64,
}

/// What the thread of a connection does. The descriptors are open until it takes them from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits for a packet.
    Idle(RawFd),
    /// Carries out a request.
    Busy(RawFd),
    /// Answers what was sent before, and ends.
    Ends(RawFd),
    /// Closes the socket.
    Closes,
}

impl Stage {
    fn socket(self) -> Option<RawFd> {
        match self {
            Self::Idle(socket) | Self::Busy(socket) | Self::Ends(socket) => Some(socket),
            Self::Closes => None,
        }
    }

    fn is_served(self) -> bool {
        matches!(self, Self::Idle(_) | Self::Busy(_))
    }
}

/// Why a connection has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlaceRefusal {
    /// The user has too many.
    #[error(
        "user {uid} has {used} connections to chaosd, and may have {share} (connections= in \
         [members] of chaosd.toml); wait until another command has ended"
    )]
    Share {
        /// The user.
        uid: u32,
        /// The number of connections.
        used: usize,
        /// The most connections.
        share: u32,
    },
    /// All users together have too many.
    #[error(
        "users other than root have {MEMBER_CLIENTS} connections to chaosd, which is the maximum; \
         wait until another command has ended"
    )]
    Full,
}

/// An accepted connection. Dropping it closes the socket, which takes as long as its user wants,
/// and frees its place afterwards.
#[derive(Debug)]
pub(super) struct Held {
    // First: fields are dropped in this order.
    pub(super) socket: UnixStream,
    pub(super) place: Place,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.place.closes();
    }
}

/// The place of a connection, taken until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    places: Arc<Places>,
}

impl Places {
    /// Returns places of which none is taken. `lines` limits the lines of the log about them.
    pub(super) fn new(limits: MemberLimits, waker: Arc<Waker>, lines: LineLimit) -> Self {
        let state = State {
            connections: HashMap::new(),
            limits,
            next: 0,
            clock: 0,
            listener: None,
            stops: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), waker, lines }
    }

    /// Notes the listening socket. The caller calls [`closes`](Self::closes) before it closes it.
    pub(super) fn listens(&self, listener: &UnixListener) {
        self.lock().listener = Some(listener.as_raw_fd());
    }

    /// Notes that the listening socket is about to be closed.
    pub(super) fn closes(&self) {
        self.lock().listener = None;
        self.wake();
    }

    /// Returns a connection with a place.
    ///
    /// When all places are taken, the connection that has been silent longest is ended, of those of
    /// users who have more than this one. It ends when its thread has answered what was sent
    /// before.
    ///
    /// # Errors
    /// The user has too many connections; or all users together, and none can be ended.
    pub(super) fn admit(
        self: &Arc<Self>,
        uid: u32,
        socket: UnixStream,
    ) -> Result<Held, (UnixStream, PlaceRefusal)> {
        let mut state = self.lock();
        let share = state.limits.connections;
        let used = state.connections.values().filter(|other| other.uid == uid).count();
        if used >= share as usize {
            return Err((socket, PlaceRefusal::Share { uid, used, share }));
        }
        let has_thread = state.connections.len() < MAX_THREADS;
        let has_place = has_thread && state.served().count() < MEMBER_CLIENTS;
        let is_admitted = has_place || (has_thread && state.evict(uid, &self.lines));
        if !is_admitted {
            return Err((socket, PlaceRefusal::Full));
        }
        let fd = socket.as_raw_fd();
        let stage = if state.stops { Stage::Ends(fd) } else { Stage::Idle(fd) };
        if state.stops {
            end(fd);
        }
        Ok(self.take(&mut state, uid, socket, stage))
    }

    /// Returns a connection that is refused, with a place until it is closed. Waits until there is
    /// one: the caller cannot close the connection itself. Before that, calls `wait` with the user
    /// who has most connections.
    pub(super) fn refuse(
        self: &Arc<Self>,
        uid: u32,
        socket: UnixStream,
        wait: impl FnOnce(u32),
    ) -> Held {
        let mut state = self.lock();
        if state.connections.len() >= MAX_THREADS {
            wait(state.largest().unwrap_or(uid));
        }
        while state.connections.len() >= MAX_THREADS && !state.stops {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.take(&mut state, uid, socket, Stage::Closes)
    }

    /// Waits until a connection ends, a second at most.
    pub(super) fn wait_for_end(&self) {
        let waited = self.changed.wait_timeout(self.lock(), Duration::from_secs(1));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn take(
        self: &Arc<Self>,
        state: &mut State,
        uid: u32,
        socket: UnixStream,
        stage: Stage,
    ) -> Held {
        let number = state.next;
        state.next += 1;
        let heard = state.tick();
        state.connections.insert(number, Connection { uid, stage, heard });
        Held { socket, place: Place { number, places: Arc::clone(self) } }
    }

    /// Returns the limits.
    pub(super) fn limits(&self) -> MemberLimits {
        self.lock().limits.clone()
    }

    /// Replaces the limits.
    pub(super) fn limit(&self, limits: MemberLimits) {
        self.lock().limits = limits;
    }

    /// Ends all connections, and the listening socket, when what was sent before is received.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stops = true;
        for connection in state.connections.values_mut() {
            if let Some(socket) = connection.stage.socket() {
                end(socket);
                connection.stage = Stage::Ends(socket);
            }
        }
        if let Some(listener) = state.listener {
            // The connections that wait to be accepted still are.
            let _ = shutdown(listener, Shutdown::Both);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Returns whether all connections are closed or being closed.
    pub(super) fn are_done(&self) -> bool {
        let state = self.lock();
        let is_open = |connection: &Connection| connection.stage.socket().is_some();
        state.listener.is_none() && !state.connections.values().any(is_open)
    }

    fn wake(&self) {
        if self.lock().stops {
            let _ = self.waker.wake();
        }
    }

    /// Returns the state. It is consistent also if a thread has panicked: no change of it can.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn served(&self) -> impl Iterator<Item = &Connection> {
        self.connections.values().filter(|connection| connection.stage.is_served())
    }

    /// Returns the user with most connections.
    fn largest(&self) -> Option<u32> {
        let uids = self.connections.values().map(|connection| connection.uid);
        uids.max_by_key(|uid| self.connections.values().filter(|one| one.uid == *uid).count())
    }

    /// Ends an idle connection of a user who has more than `uid`. Returns `false` if there is none.
    fn evict(&mut self, uid: u32, lines: &LineLimit) -> bool {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for connection in self.served() {
            *counts.entry(connection.uid).or_default() += 1;
        }
        let own = counts.get(&uid).copied().unwrap_or(0);
        let count = |connection: &Connection| counts.get(&connection.uid).copied().unwrap_or(0);
        let idle = self.connections.values_mut().filter_map(|connection| {
            let Stage::Idle(socket) = connection.stage else { return None };
            let evictable = count(connection) > own && !has_packets(socket);
            evictable.then_some((connection, socket))
        });
        let chosen =
            idle.max_by_key(|(connection, _)| (count(connection), u64::MAX - connection.heard));
        let Some((connection, socket)) = chosen else { return false };
        // Each of two users could end the other's again and again.
        if lines.allows(uid) {
            tracing::info!(
                "ended a connection of user {}, the one that was silent longest: users other than \
                 root have {MEMBER_CLIENTS}, the maximum, and user {uid} has fewer",
                connection.uid
            );
        }
        end(socket);
        connection.stage = Stage::Ends(socket);
        true
    }
}

impl Place {
    /// Notes that a packet has come, and that no connection is ended now which it may belong to.
    pub(super) fn heard(&self) {
        self.change(|stage| match stage {
            Stage::Idle(socket) => Stage::Busy(socket),
            other => other,
        });
    }

    /// Notes that all that has come is answered.
    pub(super) fn waits(&self) {
        self.change(|stage| match stage {
            Stage::Busy(socket) => Stage::Idle(socket),
            other => other,
        });
    }

    /// Notes that the socket is about to be closed.
    fn closes(&self) {
        self.change(|_| Stage::Closes);
        self.places.wake();
    }

    fn change(&self, stage: impl FnOnce(Stage) -> Stage) {
        let mut state = self.places.lock();
        let heard = state.tick();
        if let Some(connection) = state.connections.get_mut(&self.number) {
            connection.heard = heard;
            connection.stage = stage(connection.stage);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().connections.remove(&self.number);
        self.places.changed.notify_all();
        self.places.wake();
    }
}

/// Lets a socket's thread receive what was sent before, and then the end.
fn end(socket: RawFd) {
    // The client may have gone already.
    let _ = shutdown(socket, Shutdown::Read);
}

/// Returns whether there is something to receive.
fn has_packets(socket: RawFd) -> bool {
    // SAFETY: `borrow_raw` needs a descriptor that is open as long as the borrow lives. It comes
    // from a stage, and its owner closes it only after `Place::closes` has replaced that stage,
    // which needs the lock that the caller holds.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    let mut fds = [PollFd::new(socket, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
