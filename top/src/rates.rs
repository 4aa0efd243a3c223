// SPDX-License-Identifier: GPL-3.0-or-later
//! What guests use in a second, from two samples.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use chaos::guests::{DeviceFigures, Figures, GuestFigures, GuestState};

/// How many values of the CPU are kept of each guest.
pub(crate) const HISTORY: usize = 20;

/// The name of dom0.
const DOM0: &str = "Domain-0";

/// What a domain has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    cpu_ns: u64,
    received: u64,
    sent: u64,
    read: u64,
    written: u64,
}

/// What a domain uses in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Use {
    /// Of one CPU.
    pub(crate) cpu_percent: f64,
    /// Bytes that it has received.
    pub(crate) received: f64,
    /// Bytes that it has sent.
    pub(crate) sent: f64,
    /// Bytes that it has read from disks.
    pub(crate) read: f64,
    /// Bytes that it has written to disks.
    pub(crate) written: f64,
}

/// A domain in the table.
#[derive(Clone, Debug)]
pub(crate) struct Domain {
    pub(crate) name: String,
    pub(crate) domid: u16,
    pub(crate) state: GuestState,
    pub(crate) vcpus: u32,
    pub(crate) memory_kib: u64,
    pub(crate) broken_devices: usize,
    /// `None` in the first sample that has it.
    pub(crate) used: Option<Use>,
    /// The last values of the CPU in percent, the newest last.
    pub(crate) history: VecDeque<u64>,
    totals: Totals,
}

/// The last sample.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// dom0 first, then the guests in the order of their domids.
    pub(crate) domains: Vec<Domain>,
    /// Domains of chaos without a name, and of other toolstacks.
    pub(crate) others: (usize, usize),
    /// Why the figures of networks and disks are missing.
    pub(crate) unserved: Option<String>,
    /// The identities of the domains.
    keys: Vec<(u16, [u8; 16])>,
    at: Option<Instant>,
}

impl Rates {
    /// Adds a sample.
    pub(crate) fn add(&mut self, figures: Figures, now: Instant) {
        let passed = self.at.replace(now).map(|before| now.saturating_duration_since(before));
        let before: HashMap<(u16, [u8; 16]), Domain> =
            self.domains.drain(..).zip(self.keys.drain(..)).map(|(one, key)| (key, one)).collect();
        let dom0 = figures.dom0.map(|usage| {
            let totals = Totals { cpu_ns: usage.cpu_time_ns, ..Totals::default() };
            let domain = Domain {
                name: DOM0.to_owned(),
                domid: 0,
                state: GuestState::Running,
                vcpus: usage.vcpus,
                memory_kib: usage.memory.0,
                broken_devices: 0,
                used: None,
                history: VecDeque::new(),
                totals,
            };
            ((0, [0; 16]), domain)
        });
        let key = |guest: &GuestFigures| (guest.identity.domid.0, guest.identity.handle.0);
        let mut guests: Vec<_> =
            figures.guests.iter().map(|guest| (key(guest), Domain::from(guest))).collect();
        for DeviceFigures { guest, counters: vif, .. } in &figures.vifs {
            let totals = &mut guests[*guest].1.totals;
            totals.received += vif.to_guest_bytes;
            totals.sent += vif.from_guest_bytes;
        }
        for DeviceFigures { guest, counters: vbd, .. } in &figures.vbds {
            let totals = &mut guests[*guest].1.totals;
            totals.read += vbd.read_bytes;
            totals.written += vbd.written_bytes;
        }
        for (key, mut domain) in dom0.into_iter().chain(guests) {
            if let (Some(old), Some(passed)) = (before.get(&key), passed) {
                domain.follows(old, passed);
            }
            self.keys.push(key);
            self.domains.push(domain);
        }
        self.others = (figures.unnamed, figures.foreign);
        self.unserved = figures.unserved;
    }
}

impl From<&GuestFigures> for Domain {
    /// Without what has passed its devices.
    fn from(guest: &GuestFigures) -> Self {
        Self {
            name: (*guest.name).to_owned(),
            domid: guest.identity.domid.0,
            state: guest.state,
            vcpus: guest.usage.vcpus,
            memory_kib: guest.usage.memory.0,
            broken_devices: guest.broken_devices,
            used: None,
            history: VecDeque::new(),
            totals: Totals { cpu_ns: guest.usage.cpu_time_ns, ..Totals::default() },
        }
    }
}

impl Domain {
    /// Computes the rates since an earlier sample.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates are shown with three digits; percents are positive and small"
    )]
    fn follows(&mut self, old: &Self, passed: Duration) {
        let (new, old_totals) = (self.totals, old.totals);
        // A restarted noxsd counts from 0.
        let per_second = |new: u64, old: u64| new.saturating_sub(old) as f64 / passed.as_secs_f64();
        let cpu_percent = per_second(new.cpu_ns, old_totals.cpu_ns) / 1e7;
        self.used = Some(Use {
            cpu_percent,
            received: per_second(new.received, old_totals.received),
            sent: per_second(new.sent, old_totals.sent),
            read: per_second(new.read, old_totals.read),
            written: per_second(new.written, old_totals.written),
        });
        self.history.clone_from(&old.history);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(cpu_percent.round() as u64);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use chaos::guests::Usage;
    use chaos::handle::DomainIdentity;
    use chaos::records::NameChanges;
    use noxs_control::{VbdStatus, VifStatus};
    use xen::units::{DomId, DomainHandle, KiB};

    use super::*;

    /// Returns the figures of dom0 and one guest that has used this much of everything.
    pub(crate) fn figures(handle: u8, used: u64) -> Figures {
        let usage = Usage { cpu_time_ns: used, memory: KiB(8192), vcpus: 1 };
        let vif =
            VifStatus { to_guest_bytes: used, from_guest_bytes: 2 * used, ..Default::default() };
        let vbd = VbdStatus { read_bytes: 3 * used, written_bytes: 4 * used, ..Default::default() };
        let guest = GuestFigures {
            name: "web".into(),
            identity: DomainIdentity { domid: DomId(5), handle: DomainHandle([handle; 16]) },
            state: GuestState::Blocked,
            usage,
            broken_devices: 0,
        };
        Figures {
            guests: vec![guest],
            vifs: vec![DeviceFigures { guest: 0, index: 0, counters: vif }],
            vbds: vec![DeviceFigures { guest: 0, index: 0, counters: vbd }],
            dom0: Some(usage),
            unnamed: 2,
            foreign: 1,
            unserved: None,
            changes: NameChanges::default(),
        }
    }

    #[test]
    fn rates_are_the_differences_of_two_samples_of_the_same_domain() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        rates.add(figures(1, 1_000_000_000), start);
        assert!(rates.domains.iter().all(|domain| domain.used.is_none()));
        rates.add(figures(1, 2_000_000_000), start + Duration::from_secs(2));
        let expected =
            Use { cpu_percent: 50.0, received: 5e8, sent: 1e9, read: 1.5e9, written: 2e9 };
        assert_eq!(rates.domains[1].used, Some(expected));
        assert_eq!(rates.domains[0].used.unwrap().cpu_percent, 50.0);
        assert_eq!(rates.domains[1].history, [50]);
        // noxsd was restarted, and the domid has another domain.
        rates.add(figures(1, 0), start + Duration::from_secs(3));
        assert_eq!(rates.domains[1].used, Some(Use::default()));
        rates.add(figures(2, 7), start + Duration::from_secs(4));
        assert_eq!(rates.domains[1].used, None);
        assert!(rates.domains[1].history.is_empty());
    }

    #[test]
    fn the_history_is_bounded() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        for second in 0..100 {
            rates.add(figures(1, second * 10_000_000), start + Duration::from_secs(second));
        }
        assert_eq!(rates.domains[1].history, [1; HISTORY]);
    }
}
