// SPDX-License-Identifier: GPL-3.0-or-later
//! The server's clients that follow the events, and what is watched for them.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use chaos::records::NameChanges;
use daemon::chain::chain;
use daemon::level::Level;
use mio::Interest;
use nix::errno::Errno;
use nix::sys::inotify::Inotify;
use nix::sys::socket::{MsgFlags, recv};

use super::{DEVICES, NAMES, Server, refused};
use crate::observe::Report;
use crate::observe::connection::{Connection, Stage};
use crate::observe::event::{Event, What};
use crate::observe::http::{self, NO_FIGURES, TOO_MANY};
use crate::observe::known::KnownGuests;
use crate::observe::source::{Source, SourceError};
use crate::observe::subscriber::{Form, Subscriber};

/// The most clients that follow events.
const MAX_FOLLOWERS: usize = 32;

/// The delay before another attempt to watch `noxsd`'s devices.
const RETRY: Duration = Duration::from_secs(1);

/// What is watched while a client follows the events.
pub(super) struct Watches {
    names: Inotify,
    /// `None` while `noxsd` does not answer.
    devices: Option<OwnedFd>,
    /// When to try again to watch the devices.
    pub(super) retry: Option<Instant>,
    known: KnownGuests,
}

impl<S: Source> Server<S> {
    /// Returns the stage of a client that asks for events.
    pub(super) fn events(&mut self, form: Form) -> Stage {
        let follows = |client: &&Connection| matches!(client.stage, Stage::Follows(_));
        if self.clients.iter().filter(follows).count() >= MAX_FOLLOWERS {
            return refused(TOO_MANY);
        }
        if self.watches.is_none() {
            // Before the guests are looked for: what happens then is known and reported at most once.
            self.channels.reports.want(true);
            match self.start_watches() {
                Ok(watches) => self.watches = Some(watches),
                Err(error) => {
                    self.channels.reports.want(false);
                    tracing::warn!("cannot follow events: {}", chain(&error));
                    return refused(NO_FIGURES);
                }
            }
            self.retry_devices();
        }
        Stage::Follows(Subscriber::new(form, http::events_head(form)))
    }

    fn start_watches(&mut self) -> Result<Watches, SourceError> {
        let names = self.source.watch_names()?;
        let known = KnownGuests::find(&mut self.source)?;
        if let Err(error) = self.watch(names.as_fd().as_raw_fd(), NAMES) {
            tracing::warn!("cannot wait for changes of names: {error}");
        }
        Ok(Watches { names, devices: None, retry: Some(Instant::now()), known })
    }

    /// Stops to watch if no client follows the events any more.
    pub(super) fn follow_if_wanted(&mut self) {
        let follows = |client: &Connection| matches!(client.stage, Stage::Follows(_));
        if self.watches.is_some() && !self.clients.iter().any(follows) {
            self.watches = None;
            self.channels.reports.want(false);
        }
    }

    /// Watches the devices, if that is due.
    pub(super) fn retry_devices(&mut self) {
        let now = Instant::now();
        let is_due = |watches: &&mut Watches| watches.retry.is_some_and(|at| at <= now);
        let Some(watches) = self.watches.as_mut().filter(is_due) else { return };
        match self.source.watch_devices() {
            Ok(devices) => {
                let fd = devices.as_raw_fd();
                let added =
                    self.poll.registry().register(&mut Level(fd), DEVICES, Interest::READABLE);
                if let Err(error) = added {
                    tracing::warn!("cannot wait for broken devices: {error}");
                }
                (watches.devices, watches.retry) = (Some(devices), None);
                self.publish_devices();
            }
            Err(_) => watches.retry = Some(now + RETRY),
        }
    }

    pub(super) fn take_reports(&mut self) {
        let missed = self.channels.reports.take_missed();
        while let Some(report) = self.channels.reports.take() {
            // What the report is about may have followed a change of names, such as the end of the guest
            // that had this name.
            if matches!(report, Report::Created { .. }) {
                self.names_changed();
            }
            let events = self.watches.as_mut().map(|watches| watches.known.report(report));
            self.publish(events.into_iter().flatten());
        }
        if missed > 0 {
            for client in &mut self.clients {
                if let Stage::Follows(subscriber) = &mut client.stage {
                    subscriber.miss(missed);
                }
            }
            self.send_all();
        }
    }

    pub(super) fn names_changed(&mut self) {
        let Some(watches) = &self.watches else { return };
        let mut touched = Vec::new();
        while let Ok(events) = watches.names.read_events() {
            let names = events.into_iter().filter_map(|event| event.name?.into_string().ok());
            touched.extend(names);
        }
        // Some notices may be lost: the folder has all names.
        let changes = self.source.changes(&touched);
        self.publish_names(changes);
    }

    pub(super) fn publish_names(&mut self, changes: Result<NameChanges, SourceError>) {
        let Some(watches) = &mut self.watches else { return };
        let events = changes.and_then(|changes| watches.known.names(changes, &mut self.source));
        match events {
            Ok(events) => self.publish(events),
            Err(error) => tracing::warn!("events may be missing: {}", chain(&error)),
        }
    }

    pub(super) fn devices_changed(&mut self) {
        let Some(watches) = &mut self.watches else { return };
        let Some(devices) = &watches.devices else { return };
        loop {
            match recv(devices.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_DONTWAIT) {
                Ok(1..) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Ok(0) | Err(_) => {
                    (watches.devices, watches.retry) = (None, Some(Instant::now() + RETRY));
                    return;
                }
            }
        }
        self.publish_devices();
    }

    fn publish_devices(&mut self) {
        let Some(watches) = &mut self.watches else { return };
        match self.source.broken() {
            Ok(broken) => {
                let events = watches.known.devices(&broken);
                self.publish(events);
            }
            Err(error) => tracing::warn!("events may be missing: {}", chain(&error)),
        }
    }

    /// Sends events to all clients that follow them.
    fn publish(&mut self, events: impl IntoIterator<Item = What>) {
        let mut has_any = false;
        for event in events.into_iter().map(Event::now) {
            has_any = true;
            for client in &mut self.clients {
                if let Stage::Follows(subscriber) = &mut client.stage {
                    subscriber.push(&event);
                }
            }
        }
        if has_any {
            self.send_all();
        }
    }
}
