//! Waiting for something to happen.

use crate::clock::Instant;
use crate::{hypercall, power, shared_info};

/// The guest's end of an event channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(pub(crate) u32);

impl Port {
    /// The port of a device, by the number in its [`Backend`](noxs::Backend): for a driver of the
    /// guest's own.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Raises an event on the other end.
    pub fn notify(self) {
        // A port that dom0 has closed meanwhile has nobody behind it: nothing is lost.
        let _ = hypercall::send_event(self.0);
    }

    /// Forgets an event that has come, and tells whether one had. Look for what it announces
    /// after this call, never before.
    pub(crate) fn take(self) -> bool {
        shared_info::take_pending(self.0)
    }

    /// Makes it as if an event had come.
    pub(crate) fn put_back(self) {
        shared_info::set_pending(self.0);
    }
}

/// Most ports that can be waited for at a time.
const MAX_PORTS: usize = 4;

/// The latest deadline that Xen understands, in nanoseconds: 146 years of uptime.
const LATEST: u64 = i64::MAX as u64 / 2;

/// Sleeps until an event comes on one of `ports`, or until `deadline`, or for ever; the CPU is
/// free for others meanwhile. dom0's power requests are served on the way.
///
/// An event that came since it was last taken counts, so that none is missed between looking for
/// work and sleeping. Returning is a hint to look again, never a promise that there is work or
/// that the deadline has come.
///
/// # Panics
/// If there are more than three ports.
pub fn wait(ports: &[Port], deadline: Option<Instant>) {
    let mut numbers = [0; MAX_PORTS];
    let mut count = 0;
    for port in ports.iter().map(|port| port.0).chain(power::port()) {
        numbers[count] = port;
        count += 1;
    }
    // No short cut: the events of all ports are taken.
    let take = || ports.iter().fold(false, |any, port| port.take() | any);
    // 0 would mean "for ever", and Xen's time is signed. What time it is, Xen knows: reading the
    // clock can be as expensive as a hypercall.
    let timeout = deadline.map_or(0, |deadline| deadline.as_nanos().clamp(1, LATEST));
    loop {
        serve_power();
        if take() {
            return;
        }
        // Xen looks at the ports' pending bits after it has marked this vCPU as waiting, so that
        // an event that comes before it sleeps wakes it at once.
        if let Err(error) = hypercall::poll(&numbers[..count], timeout) {
            panic!("cannot wait for events: {error}");
        }
        serve_power();
        if take() || deadline.is_some() {
            return;
        }
    }
}

/// Serves a power request of dom0's, if one has come: for loops that may not get to [`wait`].
pub(crate) fn serve_power() {
    if power::port().is_some_and(shared_info::take_pending) {
        power::serve();
    }
}

/// Sleeps until `deadline`.
pub fn sleep_until(deadline: Instant) {
    while Instant::now() < deadline {
        wait(&[], Some(deadline));
    }
}
