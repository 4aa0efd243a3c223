// SPDX-License-Identifier: GPL-3.0-or-later
//! The guests that were seen, and which events their changes are.
//!
//! The main thread reports what it does itself. What other processes do shows in the names: a guest that
//! is created gets one, and one that is destroyed loses it.

use std::collections::{BTreeMap, HashMap};

use chaos::handle::DomainIdentity;
use chaos::records::NameChanges;
use noxs_control::DomainStatus;

use super::event::{Subject, What};
use super::report::Report;
use super::source::{Source, SourceError};

/// The number and the handle of a domain. A config may give several domains one handle, one after
/// another.
type Id = (u16, [u8; 16]);

/// A guest.
#[derive(Debug)]
struct Known {
    name: String,
    /// Whether its end was reported.
    has_ended: bool,
}

/// The guests by domain, and their broken devices.
#[derive(Debug, Default)]
pub(super) struct KnownGuests {
    guests: HashMap<Id, Known>,
    /// By domain and name of the device. That of a guest whose create is not reported yet waits for
    /// that: a guest may break a device as soon as it runs.
    broken: BTreeMap<(Id, String), Broken>,
}

/// A device that a guest has lost.
#[derive(Debug)]
struct Broken {
    reason: String,
    /// Whether that was reported.
    is_reported: bool,
}

impl KnownGuests {
    /// Returns the guests that exist now.
    ///
    /// # Errors
    /// Xen refuses, or the names cannot be read.
    pub(super) fn find(source: &mut impl Source) -> Result<Self, SourceError> {
        source.changes(&[])?;
        let handles = source.handles()?;
        let mut known = Self::default();
        for (name, domid) in source.names() {
            if let Some(handle) = handles.get(&domid) {
                known.add(&name, domid.0, handle.0);
            }
        }
        // Without noxsd, none is known yet. Those that it reports later are events.
        if let Ok(broken) = source.broken() {
            known.devices(&broken);
        }
        Ok(known)
    }

    fn add(&mut self, name: &str, domid: u16, handle: [u8; 16]) {
        let guest = Known { name: name.to_owned(), has_ended: false };
        self.guests.insert((domid, handle), guest);
    }

    /// Returns the events that changes of names are.
    ///
    /// # Errors
    /// Xen refuses.
    pub(super) fn names(
        &mut self,
        changes: NameChanges,
        source: &mut impl Source,
    ) -> Result<Vec<What>, SourceError> {
        let mut events = Vec::new();
        let handles = match changes.added.is_empty() {
            true => HashMap::new(),
            false => source.handles()?,
        };
        let mut added = Vec::new();
        for (name, domid) in changes.added {
            let Some(handle) = handles.get(&domid) else { continue };
            match self.guests.get_mut(&(domid.0, handle.0)) {
                Some(guest) if guest.name != name => {
                    let from = std::mem::replace(&mut guest.name, name.clone());
                    let guest = Subject::new(&name, domid.0, handle.0);
                    events.push(What::Renamed { guest, from });
                }
                Some(_) => {}
                // The main thread reports it when it is complete.
                None if source.is_own(DomainIdentity { domid, handle: *handle }) => {}
                None => added.push((name, domid.0, handle.0)),
            }
        }
        for (name, domid) in changes.removed {
            let id = self
                .guests
                .iter()
                .find_map(|(id, guest)| (guest.name == name && id.0 == domid.0).then_some(*id));
            if let Some(id) = id {
                self.guests.remove(&id);
                let guest = Subject::new(&name, id.0, id.1);
                events.push(What::Destroyed { guest });
            }
        }
        for (name, domid, handle) in added {
            self.add(&name, domid, handle);
            let guest = Subject::new(&name, domid, handle);
            events.push(What::Created { guest, shell: None });
        }
        events.extend(self.report_broken());
        Ok(events)
    }

    /// Returns the events that a report of the main thread is.
    pub(super) fn report(&mut self, report: Report) -> Vec<What> {
        let mut events: Vec<_> = self.event_of(report).into_iter().collect();
        events.extend(self.report_broken());
        events
    }

    fn event_of(&mut self, report: Report) -> Option<What> {
        Some(match report {
            Report::Created { name, identity, origin } => {
                let (domid, handle) = (identity.domid.0, identity.handle.0);
                self.add(&name, domid, handle);
                let guest = Subject::new(&name, domid, handle);
                What::Created { guest, shell: Some(origin.as_str()) }
            }
            Report::Ended { name, identity, how, action } => {
                let (domid, handle) = (identity.domid.0, identity.handle.0);
                if !self.guests.contains_key(&(domid, handle)) {
                    self.add(&name, domid, handle);
                }
                let guest = self.guests.get_mut(&(domid, handle))?;
                // It is handled again if the first attempt failed.
                if std::mem::replace(&mut guest.has_ended, true) {
                    return None;
                }
                let guest = Subject::new(&name, domid, handle);
                What::Ended { guest, how, action }
            }
            Report::Restarted { name, domid } => What::Restarted { name, domid },
        })
    }

    /// Returns the events that these states are: of devices that were not broken before.
    pub(super) fn devices(&mut self, domains: &[DomainStatus]) -> Vec<What> {
        let mut broken = BTreeMap::new();
        for domain in domains {
            for device in &domain.devices {
                let Some(reason) = device.broken.clone() else { continue };
                let key = ((domain.id.domid, domain.id.handle), device.name.clone());
                let is_reported = self.broken.get(&key).is_some_and(|known| known.is_reported);
                broken.insert(key, Broken { reason, is_reported });
            }
        }
        self.broken = broken;
        self.report_broken()
    }

    /// Returns the events of broken devices that were not reported, of guests that are known.
    fn report_broken(&mut self) -> Vec<What> {
        let mut events = Vec::new();
        for ((id, device), broken) in &mut self.broken {
            if broken.is_reported {
                continue;
            }
            if let Some(guest) = self.guests.get(id) {
                broken.is_reported = true;
                let guest = Subject::new(&guest.name, id.0, id.1);
                let (device, reason) = (device.clone(), broken.reason.clone());
                events.push(What::DeviceBroken { guest, device, reason });
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use chaos::clients::chaosd::protocol::Origin;
    use chaos::config::Action;
    use chaos::guests::{Figures, GuestState};
    use nix::sys::inotify::Inotify;
    use noxs_control::{DeviceCounters, DeviceStatus, DomainId, VifStatus};
    use xen::units::{DomId, DomainHandle};

    use super::*;

    /// A host with these domains.
    #[derive(Default)]
    struct Fake {
        handles: HashMap<DomId, DomainHandle>,
        names: Vec<(String, DomId)>,
        own: Option<DomainHandle>,
    }

    impl Source for Fake {
        fn figures(&mut self) -> Result<Figures, SourceError> {
            unreachable!("no test asks for them")
        }

        fn changes(&mut self, _: &[String]) -> Result<NameChanges, SourceError> {
            Ok(NameChanges::default())
        }

        fn names(&self) -> Vec<(String, DomId)> {
            self.names.clone()
        }

        fn handles(&mut self) -> Result<HashMap<DomId, DomainHandle>, SourceError> {
            Ok(self.handles.clone())
        }

        fn is_own(&self, domain: DomainIdentity) -> bool {
            self.own == Some(domain.handle)
        }

        fn broken(&mut self) -> Result<Vec<DomainStatus>, SourceError> {
            Ok(Vec::new())
        }

        fn watch_devices(&mut self) -> Result<OwnedFd, SourceError> {
            unreachable!("no test watches them")
        }

        fn watch_names(&mut self) -> Result<Inotify, SourceError> {
            unreachable!("no test watches them")
        }
    }

    fn handle(number: u8) -> DomainHandle {
        DomainHandle([number; 16])
    }

    fn identity(number: u8) -> DomainIdentity {
        DomainIdentity { domid: DomId(number.into()), handle: handle(number) }
    }

    fn subject(name: &str, number: u8) -> Subject {
        Subject::new(name, number.into(), [number; 16])
    }

    /// Returns a host with guest `old` as domain 1, and domains 2 and 3 of which the last is this
    /// process's.
    fn host() -> Fake {
        let handles = (1..=3).map(|number| (DomId(number.into()), handle(number))).collect();
        let names = vec![("old".to_owned(), DomId(1))];
        Fake { handles, names, own: Some(handle(3)) }
    }

    fn changes(added: &[(&str, u16)], removed: &[(&str, u16)]) -> NameChanges {
        let owned = |names: &[(&str, u16)]| {
            names.iter().map(|(name, domid)| ((*name).to_owned(), DomId(*domid))).collect()
        };
        NameChanges { added: owned(added), removed: owned(removed) }
    }

    #[test]
    fn names_tell_what_other_processes_create_rename_and_destroy() {
        let mut source = host();
        let mut known = KnownGuests::find(&mut source).unwrap();
        let mut names = |added: &[(&str, u16)], removed: &[(&str, u16)]| {
            known.names(changes(added, removed), &mut source).unwrap()
        };
        let new = subject("new", 2);
        let created = What::Created { guest: new, shell: None };
        assert_eq!(names(&[("new", 2), ("own", 3)], &[]), [created]);
        let guest = subject("newer", 2);
        let renamed = What::Renamed { guest, from: "new".to_owned() };
        assert_eq!(names(&[("newer", 2)], &[("new", 2)]), [renamed]);
        assert_eq!(names(&[], &[("own", 3)]), [], "a create of the main thread that failed");
        let destroyed = What::Destroyed { guest: subject("old", 1) };
        let created = What::Created { guest: subject("old", 3), shell: None };
        assert_eq!(names(&[("old", 4)], &[("old", 1)]), [destroyed], "domain 4 is gone again");
        source.own = None;
        let mut known = KnownGuests::find(&mut source).unwrap();
        let events = known.names(changes(&[("old", 3)], &[("old", 1)]), &mut source).unwrap();
        assert_eq!(events, [What::Destroyed { guest: subject("old", 1) }, created]);
    }

    #[test]
    fn an_end_is_reported_once_and_a_create_only_by_the_main_thread() {
        let mut source = host();
        let mut known = KnownGuests::find(&mut source).unwrap();
        let ended = |known: &mut KnownGuests| {
            known.report(Report::Ended {
                name: "old".to_owned(),
                identity: identity(1),
                how: GuestState::Crashed,
                action: Action::Restart,
            })
        };
        assert!(matches!(ended(&mut known)[..], [What::Ended { .. }]));
        assert_eq!(ended(&mut known), [], "it was handled again");
        let created =
            Report::Created { name: "own".into(), identity: identity(3), origin: Origin::Warm };
        let guest = subject("own", 3);
        assert_eq!(known.report(created), [What::Created { guest, shell: Some("warm") }]);
        assert_eq!(known.names(changes(&[("own", 3)], &[]), &mut source).unwrap(), []);
    }

    #[test]
    fn a_broken_device_is_reported_once() {
        let mut known = KnownGuests::find(&mut host()).unwrap();
        let device = |broken: Option<&str>| DeviceStatus {
            name: "vif0".into(),
            broken: broken.map(str::to_owned),
            counters: DeviceCounters::Vif(VifStatus::default()),
        };
        let status = |broken| DomainStatus {
            id: DomainId { domid: 1, handle: [1; 16] },
            devices: vec![device(broken)],
        };
        assert_eq!(known.devices(&[status(None)]), []);
        let events = known.devices(&[status(Some("why"))]);
        let broken = |guest| What::DeviceBroken {
            guest,
            device: "vif0".to_owned(),
            reason: "why".to_owned(),
        };
        assert_eq!(events, [broken(subject("old", 1))]);
        assert_eq!(known.devices(&[status(Some("why"))]), []);
        known.devices(&[]);
        assert_eq!(known.devices(&[status(Some("why"))]).len(), 1, "it was attached again");

        // A guest of the main thread breaks a device before its create is reported.
        let mut early = status(Some("why"));
        early.id = DomainId { domid: 3, handle: [3; 16] };
        assert_eq!(known.devices(&[early]), []);
        let identity = identity(3);
        let created =
            known.report(Report::Created { name: "own".into(), identity, origin: Origin::Cold });
        assert!(matches!(created[0], What::Created { .. }));
        assert_eq!(created[1..], [broken(subject("own", 3))]);
    }
}
