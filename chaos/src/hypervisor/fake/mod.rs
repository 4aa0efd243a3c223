// SPDX-License-Identifier: GPL-3.0-or-later
//! A hypervisor for unit tests: domains are entries of a table, and each call can be made to fail.

mod page;
mod shell;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use noxs::shared::{self, PageWords};
use noxs::{AnswerStatus, RequestId};
use xen::Error;
use xen::domain::{DomainInfo, DomainState, ShutdownReason};
use xen::units::{DomId, DomainHandle, Gfn, GrantRef, Pages, Port};

use self::page::{FakeEvents, FakePage};
use self::shell::{FakeDomain, FakeShell};
use super::{Hypervisor, ParkedOf};
use crate::clients::xenstored;
use crate::config::DomainConfig;
use crate::domain::{BuildError, Flavour, TuneError};
use crate::handle::{self, Creator};
use crate::image::Image;
use crate::timings::Timings;

/// What was done, in order; a test's daemons write into the same log.
pub(crate) type Log = Arc<Mutex<Vec<String>>>;

/// How a guest answers a request to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Not at all.
    Silent,
    /// It accepts, and goes on running.
    Accepts,
    /// It accepts and powers off.
    PowersOff,
    /// It does not support the request.
    Refuses,
    /// It powers off without an answer.
    EndsFirst,
    /// It never answers, and rings its port again each time.
    Rings,
}

#[derive(Debug)]
struct State {
    domains: BTreeMap<u16, DomainInfo>,
    pages: BTreeMap<(u16, u64), FakePage>,
    watchers: Vec<UnixStream>,
    /// The grants that were added to running domains: domid and reference.
    granted: BTreeSet<(u16, u32)>,
    reaction: Reaction,
    failing: Option<(&'static str, Errno)>,
    /// Whether calls fail only as long as there is a domain of a creator that is gone.
    only_while_incomplete: bool,
    /// A domain that is removed after the next call of this name.
    removed_after: Option<(&'static str, DomId)>,
    /// The domains that have changed, if this Xen says it.
    changed: Option<Vec<DomId>>,
    log: Log,
}

/// The hypervisor.
#[derive(Clone, Debug)]
pub(crate) struct FakeXen(Rc<RefCell<State>>);

/// Returns a handle of chaos' whose creator does not run any more.
pub(crate) fn abandoned_handle() -> DomainHandle {
    let mut handle = handle::new_handle().unwrap();
    // No process has this number: Linux gives out numbers below 2^22.
    handle.0[9..12].fill(0xff);
    handle
}

impl FakeXen {
    pub(crate) fn new(log: &Log) -> Self {
        Self(Rc::new(RefCell::new(State {
            domains: BTreeMap::new(),
            pages: BTreeMap::new(),
            watchers: Vec::new(),
            granted: BTreeSet::new(),
            reaction: Reaction::Silent,
            failing: None,
            only_while_incomplete: false,
            removed_after: None,
            changed: None,
            log: Arc::clone(log),
        })))
    }

    /// Lets all calls of this name fail from now on.
    pub(crate) fn fail(&self, call: &'static str, errno: Errno) {
        let mut state = self.0.borrow_mut();
        state.failing = Some((call, errno));
        state.only_while_incomplete = false;
    }

    /// Lets all calls of this name fail as long as there is a domain whose creator is gone.
    pub(crate) fn fail_while_incomplete(&self, call: &'static str, errno: Errno) {
        self.fail(call, errno);
        self.0.borrow_mut().only_while_incomplete = true;
    }

    /// Removes a domain after the next call of this name, as another process would.
    pub(crate) fn remove_after(&self, call: &'static str, domid: DomId) {
        self.0.borrow_mut().removed_after = Some((call, domid));
    }

    /// Lets Xen say which domains have changed: these.
    pub(crate) fn say_changed(&self, domids: &[DomId]) {
        self.0.borrow_mut().changed = Some(domids.to_vec());
    }

    /// Lets all calls succeed again.
    pub(crate) fn heal(&self) {
        self.0.borrow_mut().failing = None;
    }

    pub(crate) fn react(&self, reaction: Reaction) {
        self.0.borrow_mut().reaction = reaction;
    }

    /// Adds a domain that is paused and has never run.
    pub(crate) fn add(&self, domid: DomId, handle: DomainHandle) {
        let state = DomainState {
            dying: false,
            shutdown: None,
            paused: true,
            blocked: false,
            running: false,
        };
        let info = DomainInfo {
            domid,
            handle,
            state,
            tot_pages: Pages(1024),
            max_pages: Pages(1024),
            cpu_time_ns: 0,
            online_vcpus: 1,
            max_vcpu_id: Some(0),
        };
        self.0.borrow_mut().domains.insert(domid.0, info);
    }

    /// Changes what is said of a domain.
    pub(crate) fn change(&self, domid: DomId, change: impl FnOnce(&mut DomainInfo)) {
        change(self.0.borrow_mut().domains.get_mut(&domid.0).unwrap());
    }

    /// Removes a domain, as another toolstack would.
    pub(crate) fn remove(&self, domid: DomId) {
        self.0.borrow_mut().domains.remove(&domid.0);
    }

    /// Returns the references of the grants that were added to a running domain.
    pub(crate) fn granted(&self, domid: DomId) -> Vec<u32> {
        let state = self.0.borrow();
        state.granted.iter().filter(|(owner, _)| *owner == domid.0).map(|(_, at)| *at).collect()
    }

    pub(crate) fn domids(&self) -> Vec<u16> {
        self.0.borrow().domains.keys().copied().collect()
    }

    fn call(&self, name: &'static str, domid: Option<DomId>) -> Result<(), Error> {
        let state = self.0.borrow();
        if let Some((failing, errno)) = state.failing
            && failing == name
            && (!state.only_while_incomplete || state.has_incomplete())
        {
            return Err(Error::Hypercall { operation: name, domid, errno });
        }
        if let Some(domid) = domid {
            if !state.domains.contains_key(&domid.0) {
                let errno = Errno::ESRCH;
                return Err(Error::Hypercall { operation: name, domid: Some(domid), errno });
            }
            state.log.lock().unwrap().push(format!("xen: {name} {}", domid.0));
        }
        Ok(())
    }

    fn build(&self, name: &'static str, domid: DomId) -> Result<(), BuildError> {
        self.call(name, Some(domid)).map_err(|source| BuildError::Xen { doing: name, source })
    }

    /// The guest looks at its page, and does what the test has said.
    fn notified(&self, domid: DomId) {
        let mut state = self.0.borrow_mut();
        let reaction = state.reaction;
        if reaction == Reaction::Silent {
            return;
        }
        let status = match reaction {
            Reaction::Accepts | Reaction::PowersOff => Some(AnswerStatus::Accepted),
            Reaction::Refuses => Some(AnswerStatus::Unsupported),
            Reaction::Silent | Reaction::EndsFirst | Reaction::Rings => None,
        };
        if let Some(status) = status {
            let pages = state.pages.range((domid.0, 0)..=(domid.0, u64::MAX));
            // The device page comes before the answer page.
            let pages: Vec<FakePage> = pages.map(|(_, page)| page.clone()).collect();
            let [device_page, mut answer] = <[_; 2]>::try_from(pages)
                .unwrap_or_else(|_| panic!("the device page and the answer page are mapped"));
            let id = device_page.read_u32(noxs_request_id());
            shared::write_answer(&mut answer, RequestId(id), status);
        }
        if matches!(reaction, Reaction::PowersOff | Reaction::EndsFirst) {
            let info = state.domains.get_mut(&domid.0).unwrap();
            info.state.shutdown = Some(ShutdownReason::Poweroff);
        }
        state.ring();
    }

    /// dom0 has acknowledged the events so far.
    fn acknowledged(&self) {
        let state = self.0.borrow();
        if state.reaction == Reaction::Rings {
            state.ring();
        }
    }
}

impl State {
    fn has_incomplete(&self) -> bool {
        let creators = self.domains.values().filter_map(|info| Creator::of(info.handle));
        creators.into_iter().any(|creator| !creator.is_alive())
    }

    /// Removes the domain that is removed after this call.
    fn finish(&mut self, name: &'static str) {
        if let Some((_, domid)) = self.removed_after.take_if(|(call, _)| *call == name) {
            self.domains.remove(&domid.0);
        }
    }

    /// Sends an event to dom0.
    fn ring(&self) {
        for mut watcher in &self.watchers {
            // A set of event channels that is closed misses it.
            let _ = watcher.write_all(b"!");
        }
    }
}

/// Finds where in a device page the number of the request stands.
fn noxs_request_id() -> usize {
    let mut page = FakePage::default();
    shared::post_request(&mut page, RequestId(0x1234_5678), noxs::Request::Poweroff);
    (0..4096).step_by(4).find(|offset| page.read_u32(*offset) == 0x1234_5678).unwrap()
}

impl Hypervisor for FakeXen {
    type Shell = FakeShell;
    type Page = FakePage;
    type Events = FakeEvents;

    fn domain_info(&self, domid: DomId) -> Result<Option<DomainInfo>, Error> {
        self.call("domain_info", None)?;
        let mut state = self.0.borrow_mut();
        let info = state.domains.get(&domid.0).copied();
        state.finish("domain_info");
        Ok(info)
    }

    fn domain_list(&self, first: DomId) -> Result<Vec<DomainInfo>, Error> {
        self.call("domain_list", None)?;
        let mut state = self.0.borrow_mut();
        let listed = state.domains.range(first.0..).map(|(_, info)| *info).collect();
        state.finish("domain_list");
        Ok(listed)
    }

    fn changed_domains(&self) -> Result<Option<Vec<DomId>>, Error> {
        self.call("changed_domains", None)?;
        let changed = self.0.borrow_mut().changed.as_mut().map(std::mem::take);
        Ok(changed)
    }

    fn pause(&self, domid: DomId) -> Result<(), Error> {
        self.call("pause", Some(domid))?;
        self.change(domid, |info| info.state.paused = true);
        Ok(())
    }

    fn unpause(&self, domid: DomId) -> Result<(), Error> {
        self.call("unpause", Some(domid))?;
        self.change(domid, |info| {
            info.state.paused = false;
            info.cpu_time_ns += 1;
        });
        Ok(())
    }

    fn destroy(&self, domid: DomId) -> Result<(), Error> {
        self.call("destroy", Some(domid))?;
        self.remove(domid);
        Ok(())
    }

    fn map_page(&self, domid: DomId, gfn: Gfn) -> Result<FakePage, Error> {
        self.call("map_page", Some(domid))?;
        Ok(self.0.borrow_mut().pages.entry((domid.0, gfn.0)).or_default().clone())
    }

    fn provide_page(&self, domid: DomId, gfn: Gfn, most: Pages) -> Result<(), Error> {
        self.call("provide_page", Some(domid))?;
        let has = self.0.borrow().domains[&domid.0].tot_pages;
        assert!(has < most, "frame {} is beyond the limit of {} pages", gfn.0, most.0);
        Ok(())
    }

    fn grant_pages(&self, domid: DomId, pages: &[(GrantRef, Gfn)]) -> Result<(), Error> {
        self.call("grant", Some(domid))?;
        let mut state = self.0.borrow_mut();
        let granted = pages.iter().map(|(reference, _)| (domid.0, reference.0));
        state.granted.extend(granted);
        Ok(())
    }

    fn revoke_grants(&self, domid: DomId, references: &[GrantRef]) -> Result<(), Error> {
        self.call("revoke", Some(domid))?;
        let mut state = self.0.borrow_mut();
        for reference in references {
            state.granted.remove(&(domid.0, reference.0));
        }
        Ok(())
    }

    fn alloc_port(&self, domid: DomId) -> Result<Port, Error> {
        self.call("alloc_port", Some(domid))?;
        Ok(Port(5))
    }

    fn tune(
        &self,
        _: &xenstored::Link,
        domid: DomId,
        config: &DomainConfig,
    ) -> Result<(), TuneError> {
        match config.extras {
            None => Ok(()),
            Some(_) => self
                .call("tune", Some(domid))
                .map_err(|source| TuneError::Xen { key: "pool", source }),
        }
    }

    fn set_handle(&self, domid: DomId, handle: DomainHandle) -> Result<(), Error> {
        self.call("set_handle", Some(domid))?;
        self.change(domid, |info| info.handle = handle);
        Ok(())
    }

    fn open_events(&self) -> Result<FakeEvents, Error> {
        self.call("open_events", None)?;
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        // An event that does not fit is one among many that are pending.
        theirs.set_nonblocking(true).unwrap();
        self.0.borrow_mut().watchers.push(theirs);
        Ok(FakeEvents::new(self, ours))
    }

    fn prepare(
        self: &Rc<Self>,
        flavour: Flavour,
        _: Option<&Image>,
        handle: DomainHandle,
        timings: &mut Timings,
    ) -> Result<FakeShell, BuildError> {
        let domid = DomId(self.domids().last().map_or(1, |last| last + 1));
        self.add(domid, handle);
        let domain = FakeDomain::new(self, domid, handle);
        self.build("prepare", domid)?;
        timings.stage("createdomain");
        Ok(FakeShell { domain, flavour })
    }

    fn unpark(self: &Rc<Self>, parked: ParkedOf<Self>) -> FakeShell {
        let (domid, handle, flavour) = parked;
        let domain = FakeDomain::new(self, domid, handle);
        FakeShell { domain, flavour }
    }
}
