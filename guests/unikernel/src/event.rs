// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event channels, and waiting for them.

use crate::clock::Instant;
use crate::{hypercall, power, shared_info};

/// The guest's end of an event channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(pub(crate) u32);

impl Port {
    /// Returns the port with a number, which is in a device's [`Backend`](noxs::Backend). For
    /// drivers outside of this crate.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Raises an event on the other end.
    pub fn notify(self) {
        // This fails if dom0 has closed the other end; then no process waits for the event.
        let _ = hypercall::send_event(self.0);
    }

    /// Clears the pending event and returns whether there was one. Look for the work that it
    /// announces after this call, never before.
    pub(crate) fn take(self) -> bool {
        shared_info::take_pending(self.0)
    }

    /// Sets the pending event, as if one had arrived.
    pub(crate) fn put_back(self) {
        shared_info::set_pending(self.0);
    }
}

/// The most ports to wait for, beside the power requests'.
const MAX_PORTS: usize = noxs::MAX_VIFS + 2;

/// The latest deadline that Xen accepts, in nanoseconds: 146 years of uptime.
const LATEST: u64 = i64::MAX as u64 / 2;

/// Sleeps until one of `ports` has an event, or until `deadline` if there is one. Other domains can
/// use the CPU meanwhile. Serves dom0's power requests.
///
/// An event that arrived before the call ends the wait, so that none is missed between looking for
/// work and sleeping. A return is a hint to look for work: there may be none, and the deadline may
/// not have come. With the feature `hot-plug` it does not sleep while there is a change of the list of
/// devices that was not taken (`hot_plug::take`).
///
/// # Panics
/// If there are more than ten ports: as many as a guest can have vifs, and two more.
pub fn wait(ports: &[Port], deadline: Option<Instant>) {
    wait_until(ports, deadline, &has_change);
}

/// Sleeps as [`wait`] does, for a caller that does not look at changes of the list of devices.
pub(crate) fn wait_for_ports(ports: &[Port], deadline: Option<Instant>) {
    wait_until(ports, deadline, &|| false);
}

/// Sleeps as [`wait`] does, or until `is_over` returns true, which may change when dom0 changes the
/// device page.
pub(crate) fn wait_until(ports: &[Port], deadline: Option<Instant>, is_over: &dyn Fn() -> bool) {
    let mut numbers = [0; MAX_PORTS + 1];
    let mut count = 0;
    for port in ports.iter().map(|port| port.0).chain(power::port()) {
        numbers[count] = port;
        count += 1;
    }
    // Not `any`, which stops early: take the events of all ports.
    let take = || ports.iter().fold(false, |any, port| port.take() | any);
    // For Xen, 0 means no time-out, and times are signed. Pass a deadline that is over to Xen, too:
    // reading the clock can be as expensive as a hypercall.
    let timeout = deadline.map_or(0, |deadline| deadline.as_nanos().clamp(1, LATEST));
    loop {
        serve_power();
        if take() || is_over() {
            return;
        }
        // Xen checks the pending bits after it has marked this vCPU as waiting, so an event that
        // arrives before it sleeps wakes it at once.
        if let Err(error) = hypercall::poll(&numbers[..count], timeout) {
            panic!("cannot wait for events: {error}");
        }
        serve_power();
        if take() || deadline.is_some() || is_over() {
            return;
        }
    }
}

#[cfg(feature = "hot-plug")]
use crate::hot_plug::is_pending as has_change;

/// Returns whether dom0 has changed the list of devices.
#[cfg(not(feature = "hot-plug"))]
fn has_change() -> bool {
    false
}

/// Serves a power request of dom0, if there is one. For loops that may never call [`wait`].
pub(crate) fn serve_power() {
    if power::port().is_some_and(shared_info::take_pending) {
        power::serve();
    }
}

/// Sleeps until `deadline`.
pub fn sleep_until(deadline: Instant) {
    while Instant::now() < deadline {
        wait_for_ports(&[], Some(deadline));
    }
}
