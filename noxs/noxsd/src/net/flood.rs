// SPDX-License-Identifier: GPL-3.0-or-later
//! Frames for many ports: how many copies they may cost, and how many of them one turn makes.
//!
//! A frame for many ports costs a copy, a response and often an event for each port. So limits
//! count copies, and a turn makes a constant number of them: what is left continues in later turns,
//! between those of other devices. All limits are in this module:
//!
//! - Each domain, with all its vifs together: [`DOMAIN_COPIES`] a second, and at least
//!   [`FRAME_COST`] a frame. A domain that is over this limit floods nothing, not even to the tap.
//! - Each switch: [`SWITCH_COPIES`] a second for its guests together, and as many for its tap. A
//!   copy takes dom0 about 2 us (pinning a page, a grant copy, an event), so that all floods of a
//!   switch together take up to a tenth of one of dom0's CPUs for each source. Beyond the limit,
//!   guests' floods go to the tap alone, so that no guest keeps another from ARP or DHCP servers
//!   behind the tap. Of the guests' copies, [`RESERVE_COPIES`] are for domains that flood rarely, so
//!   that two or three domains do not use up what others need for ARP and neighbour discovery.
//! - Each turn: [`SLICE`] copies.
//! - Frames that continue in later turns: `QUEUE` for each source, at most `PORT_QUEUE` of one
//!   port, and `RESERVE_QUEUE` more from domains that flood rarely. Their memory is freed when the
//!   last one is done.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::switch::{BridgePortId, End, Route, Switch};
use crate::turns::bucket::Bucket;

/// Copies that the floods of one domain may cost in each [`INTERVAL`]: 64 frames to 256 ports.
pub const DOMAIN_COPIES: u64 = 64 * FRAME_COST;

/// Least cost of a flooded frame for its domain, in copies. It limits the flooded frames of a
/// domain to 64 a second however few ports there are, because each of them also goes to the tap.
pub const FRAME_COST: u64 = 256;

/// Copies that the floods of all guests of a switch, or of its tap, may cost in each [`INTERVAL`]:
/// those of three domains, so that one domain alone does not use them up.
pub const SWITCH_COPIES: u64 = 3 * DOMAIN_COPIES;

/// Those of [`SWITCH_COPIES`] that only domains that flood rarely may use.
pub const RESERVE_COPIES: u64 = DOMAIN_COPIES;

/// Copies in each [`INTERVAL`] up to which a domain floods rarely: 4 frames to 256 ports. The
/// reserve is enough for 16 domains.
const RARE_COPIES: u32 = 1024;

/// Longest time for which a domain that has flooded often does not count as one that floods rarely.
const MEMORY: Duration = Duration::from_secs(10);

/// Least cost of a frame that the tap floods: 1000 frames a second however few ports there are.
const TAP_FRAME_COST: u64 = SWITCH_COPIES / 1000;

/// Time in which the limits on copies apply.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Most copies of queued floods in one turn of a bridge: with a copy of a full frame in 10,000
/// instructions, a third of a millisecond at 1,000 instructions per us.
pub const SLICE: usize = 32;

/// Floods of all guests of a switch, or of its tap, that may continue in later turns.
const QUEUE: usize = 3 * PORT_QUEUE;

/// Floods of domains that flood rarely that may continue in later turns beside [`QUEUE`] others.
const RESERVE_QUEUE: usize = PORT_QUEUE;

/// Floods of one port that may continue in later turns, so that others have room beside it.
const PORT_QUEUE: usize = 64;

/// How often the source of a frame floods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// So rarely that it may use the reserve.
    Rare,
    /// More often, or it is the tap.
    Often,
}

/// What one domain may send, with all its vifs together.
#[derive(Debug)]
pub struct Allowance {
    floods: Bucket,
    /// When the copies that it has caused would be over, at [`RARE_COPIES`] in each [`INTERVAL`].
    busy_until: Instant,
    /// Until when it must not send, because many of its frames wait for a receiver.
    held_until: Option<Instant>,
}

impl Allowance {
    /// Creates a full allowance.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let floods = Bucket::new(DOMAIN_COPIES, INTERVAL, 1, now);
        Self { floods, busy_until: now, held_until: None }
    }

    /// Returns how often the domain floods if it may flood a frame to that many ports, and charges
    /// it.
    pub(super) fn take(&mut self, ports: usize, now: Instant) -> Option<Rate> {
        let cost = FRAME_COST.max(ports as u64);
        let rate = if self.busy_until < now + INTERVAL { Rate::Rare } else { Rate::Often };
        // Frames that are refused count, too: their domain floods often.
        let factor = u32::try_from(cost).unwrap_or(u32::MAX);
        let busy_until = self.busy_until.max(now) + INTERVAL * factor / RARE_COPIES;
        self.busy_until = busy_until.min(now + MEMORY);
        self.floods.take(cost, now).is_ok().then_some(rate)
    }

    /// Forbids sending until that time.
    pub(super) fn hold(&mut self, until: Instant) {
        self.held_until = Some(until);
    }

    /// Returns until when the domain must not send, if it must not now.
    pub(super) fn held(&mut self, now: Instant) -> Option<Instant> {
        self.held_until = self.held_until.filter(|until| *until > now);
        self.held_until
    }
}

/// A flooded frame that has more receivers than fit in a turn.
#[derive(Debug)]
pub(super) struct Flood {
    pub(super) frame: Box<[u8]>,
    route: Route,
    from: End,
    /// Receivers that are left: those in the route's list before this position. A port that joins
    /// meanwhile comes behind it and does not get the frame. Where a port leaves, the last one
    /// takes its position, and may get the frame twice, but none is left out.
    left: usize,
}

impl Flood {
    /// Removes up to `most` receivers and returns them. Fewer than `most` does not mean that none
    /// is left; see [`is_done`](Self::is_done).
    pub(super) fn next<'a>(
        &mut self,
        switch: &'a Switch,
        most: usize,
    ) -> impl Iterator<Item = BridgePortId> + use<'a> {
        let ports = switch.targets(self.route);
        let end = self.left.min(ports.len());
        let start = end.saturating_sub(most);
        self.left = start;
        let from = self.from;
        ports[start..end].iter().copied().filter(move |port| End::Port(*port) != from)
    }

    /// Returns whether all receivers have had the frame.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }
}

/// The floods of one source: of all guests of a switch together, or of its tap.
#[derive(Debug)]
struct Source {
    copies: Bucket,
    queue: VecDeque<Flood>,
}

/// The floods of a switch.
#[derive(Debug)]
pub(super) struct Floods {
    guests: Source,
    tap: Source,
    /// The copies that are left for domains that flood rarely.
    reserve: Bucket,
    /// Whether the tap's turn is next.
    tap_next: bool,
}

impl Floods {
    /// Creates the limits of a switch, with full buckets.
    pub(super) fn new(now: Instant) -> Self {
        let bucket = |copies| Bucket::new(copies, INTERVAL, 1, now);
        let source = |copies| Source { copies: bucket(copies), queue: VecDeque::new() };
        Self {
            guests: source(SWITCH_COPIES - RESERVE_COPIES),
            tap: source(SWITCH_COPIES),
            reserve: bucket(RESERVE_COPIES),
            tap_next: false,
        }
    }

    fn source(&mut self, from: End) -> (&mut Source, u64) {
        match from {
            End::Port(_) => (&mut self.guests, 1),
            End::Tap => (&mut self.tap, TAP_FRAME_COST),
        }
    }

    /// Returns whether a frame may be flooded to that many ports, and charges its source if so.
    pub(super) fn take(&mut self, from: End, rate: Rate, ports: usize, now: Instant) -> bool {
        let (source, least) = self.source(from);
        let cost = least.max(ports as u64);
        source.copies.take(cost, now).is_ok()
            || (rate == Rate::Rare && self.reserve.take(cost, now).is_ok())
    }

    /// Queues a frame for later turns. Returns `false` if too many of its source are queued.
    pub(super) fn queue(
        &mut self,
        frame: &[u8],
        route: Route,
        (from, rate): (End, Rate),
        ports: usize,
    ) -> bool {
        let (source, _) = self.source(from);
        let room = if rate == Rate::Rare { QUEUE + RESERVE_QUEUE } else { QUEUE };
        let own = source.queue.iter().filter(|flood| flood.from == from).count();
        if source.queue.len() >= room || (from != End::Tap && own >= PORT_QUEUE) {
            return false;
        }
        source.queue.push_back(Flood { frame: frame.into(), route, from, left: ports });
        true
    }

    /// Returns whether floods of this source are queued, which a new one must not overtake.
    pub(super) fn has_queued(&self, from: End) -> bool {
        match from {
            End::Port(_) => !self.guests.queue.is_empty(),
            End::Tap => !self.tap.queue.is_empty(),
        }
    }

    /// Returns whether no flood is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.guests.queue.is_empty() && self.tap.queue.is_empty()
    }

    /// Removes the flood that is next: the guests' and the tap's take turns.
    pub(super) fn pop(&mut self) -> Option<Flood> {
        self.tap_next = !self.tap_next;
        let (first, second) = match self.tap_next {
            true => (&mut self.guests.queue, &mut self.tap.queue),
            false => (&mut self.tap.queue, &mut self.guests.queue),
        };
        let queue = if first.is_empty() { second } else { first };
        let flood = queue.pop_front();
        if queue.is_empty() {
            // Free the memory: floods to many ports are rare.
            *queue = VecDeque::new();
        }
        flood
    }

    /// Puts a flood back that has receivers left, before the others of its source.
    pub(super) fn put_back(&mut self, flood: Flood) {
        self.source(flood.from).0.queue.push_front(flood);
    }

    /// Drops what a removed port has queued. Another port may get its number.
    pub(super) fn forget(&mut self, port: BridgePortId) {
        self.guests.queue.retain(|flood| flood.from != End::Port(port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: usize = 4000;

    #[test]
    fn a_domain_that_always_floods_never_floods_rarely() {
        let start = Instant::now();
        for ports in [1, 256, PORTS] {
            let mut allowance = Allowance::new(start);
            let mut now = start;
            for number in 0..1000 {
                let rare = allowance.take(ports, now) == Some(Rate::Rare);
                assert!(!rare || number < 8, "frame {number} to {ports} ports");
                now += INTERVAL / 8;
            }
            assert_eq!(allowance.take(ports, now + MEMORY), Some(Rate::Rare), "later");
        }
    }

    #[test]
    fn a_domain_that_floods_rarely_gets_through_next_to_those_that_always_flood() {
        let mut now = Instant::now();
        let mut floods = Floods::new(now);
        let mut often: Vec<_> = (0..8).map(|_| Allowance::new(now)).collect();
        let mut rarely = Allowance::new(now);
        for turn in 0..1000 {
            for (number, allowance) in (0..).zip(&mut often) {
                let from = End::Port(BridgePortId(number));
                if let Some(rate) = allowance.take(PORTS, now) {
                    floods.take(from, rate, PORTS, now);
                }
            }
            // Every five seconds.
            if turn % 50 == 49 {
                assert_eq!(rarely.take(PORTS, now), Some(Rate::Rare));
                assert!(floods.take(End::Port(BridgePortId(9)), Rate::Rare, PORTS, now));
            }
            now += INTERVAL / 10;
        }
    }

    #[test]
    fn a_full_queue_has_room_for_a_domain_that_floods_rarely() {
        let mut floods = Floods::new(Instant::now());
        let mut queue = |number, rate| {
            floods.queue(&[0; 60], Route::All, (End::Port(BridgePortId(number)), rate), PORTS)
        };
        for number in 0..3 {
            assert!((0..PORT_QUEUE).all(|_| queue(number, Rate::Often)));
        }
        assert!(!queue(3, Rate::Often));
        assert!((0..RESERVE_QUEUE).all(|_| queue(3, Rate::Rare)));
        assert!(!queue(4, Rate::Rare), "the queue is bounded");
    }
}
