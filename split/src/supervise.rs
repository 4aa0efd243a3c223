//! What happens when a guest ends: destroyed, made again, kept, as its config says.
//!
//! `noxsd` tells that some domain has ended (`VIRQ_DOM_EXC`), not which; Xen's list does. Guests that
//! ended while no `chaosd` ran, and guests that others have made, are found the same way.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::time::{Duration, Instant};

use chaos::chain::chain;
use chaos::config::{Action, DomainConfig};
use chaos::lifecycle::{self, DomainWatch, EndedGuest, GuestState, Host, LifecycleError};
use chaos::record::Record;

/// A guest that ends again and again is made again at most so often in [`WINDOW`].
pub const MAX_RESTARTS: usize = 5;

/// See [`MAX_RESTARTS`].
pub const WINDOW: Duration = Duration::from_secs(60);

/// How long to wait before the watch is tried again that was lost.
pub const RETRY: Duration = Duration::from_secs(1);

/// Makes a guest, however.
pub type Make<'a> = &'a mut dyn FnMut(&DomainConfig) -> Result<u16, String>;

/// Who has ended, and what was done about it.
#[derive(Debug, Default)]
pub struct Supervisor {
    restarts: Restarts,
    /// Handles of guests that are kept as they are.
    kept: HashSet<String>,
}

impl Supervisor {
    /// Deals with all guests that have ended.
    pub fn look(&mut self, host: &Host, make: Make<'_>) {
        let ended = match lifecycle::ended(host) {
            Ok(ended) => ended,
            Err(error) => return tracing::error!("cannot ask which guests have ended: {error}"),
        };
        // What is kept and is gone meanwhile need not be remembered.
        let there: HashSet<&str> = ended.iter().map(|one| one.record.handle.as_str()).collect();
        self.kept.retain(|handle| there.contains(handle.as_str()));
        for guest in ended {
            if self.kept.contains(&guest.record.handle) {
                continue;
            }
            let name = guest.record.name.clone();
            if let Err(error) = self.deal_with(host, &guest, make, Instant::now()) {
                tracing::error!("{name} stays as it is: {error}");
                self.kept.insert(guest.record.handle);
            }
        }
    }

    fn deal_with(
        &mut self,
        host: &Host,
        guest: &EndedGuest,
        make: Make<'_>,
        now: Instant,
    ) -> Result<(), String> {
        let record = &guest.record;
        let (name, how) = (&record.name, guest.state().as_str());
        let mut action = wanted(record, guest.state());
        if matches!(action, Action::Restart | Action::RenameRestart)
            && !self.restarts.allow(name, now)
        {
            let seconds = WINDOW.as_secs();
            tracing::error!(
                "{name} {how}; it was made again {MAX_RESTARTS} times in {seconds} s and is kept now"
            );
            action = Action::Preserve;
        }
        let text = |error: LifecycleError| chain(&error);
        match action {
            Action::Preserve => {
                tracing::info!("{name} {how} and is kept");
                self.kept.insert(record.handle.clone());
            }
            Action::Destroy => {
                lifecycle::remove_ended(host, guest).map_err(text)?;
                tracing::info!("{name} {how} and is destroyed");
            }
            Action::Restart => {
                let config = config(record)?;
                lifecycle::remove_ended(host, guest).map_err(text)?;
                let domid = make(&config)?;
                tracing::info!("{name} {how} and is domain {domid} now");
            }
            Action::RenameRestart => {
                let config = config(record)?;
                let kept = lifecycle::rename_ended(host, guest).map_err(text)?;
                self.kept.insert(record.handle.clone());
                let domid = make(&config)?;
                tracing::info!("{name} {how}, is kept as {kept}, and is domain {domid} now");
            }
        }
        Ok(())
    }
}

fn wanted(record: &Record, state: GuestState) -> Action {
    match state {
        GuestState::PoweredOff => record.on_poweroff,
        GuestState::Rebooted => record.on_reboot,
        _ => record.on_crash,
    }
}

/// The config that makes the guest again, if its files are still there: it is not taken away before
/// that is known.
fn config(record: &Record) -> Result<DomainConfig, String> {
    let config = record.config().ok_or("its record does not say how to make it again")?;
    for path in [Some(&config.kernel), config.ramdisk.as_ref()].into_iter().flatten() {
        fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(config)
}

/// When guests were made again, by name.
#[derive(Debug, Default)]
struct Restarts(HashMap<String, VecDeque<Instant>>);

impl Restarts {
    /// Whether the guest may be made again, which then counts.
    fn allow(&mut self, name: &str, now: Instant) -> bool {
        // Names of guests that have been quiet are forgotten.
        self.0.retain(|_, times| {
            times.retain(|time| now.duration_since(*time) < WINDOW);
            !times.is_empty()
        });
        let times = self.0.entry(name.to_owned()).or_default();
        if times.len() >= MAX_RESTARTS {
            return false;
        }
        times.push_back(now);
        true
    }
}

/// The watch, which is made again when it is lost.
#[derive(Debug, Default)]
pub struct Watch {
    watch: Option<DomainWatch>,
    retry: Option<Instant>,
    told: bool,
}

impl Watch {
    /// When [`renew`](Self::renew) is to be called again.
    #[must_use]
    pub fn retry(&self) -> Option<Instant> {
        self.retry
    }

    /// The watch, if there is one.
    #[must_use]
    pub fn watch(&self) -> Option<&DomainWatch> {
        self.watch.as_ref()
    }

    /// Makes the watch if there is none. Gives whether there is a new one: guests may have ended
    /// before it.
    pub fn renew(&mut self, host: &Host, now: Instant) -> bool {
        if self.watch.is_some() {
            return false;
        }
        match DomainWatch::lasting(host) {
            Ok(watch) => {
                (self.watch, self.retry, self.told) = (Some(watch), None, false);
                true
            }
            Err(error) => {
                if !self.told {
                    let error = chain(&error);
                    tracing::warn!("ends of guests are not noticed until this is mended: {error}");
                    self.told = true;
                }
                self.retry = Some(now + RETRY);
                false
            }
        }
    }

    /// Takes what was told. `true` if some guest may have ended.
    pub fn take(&mut self, now: Instant) -> bool {
        match self.watch.as_mut().map(DomainWatch::take) {
            Some(Ok(told)) => told,
            Some(Err(_)) => {
                self.watch = None;
                self.retry = Some(now);
                false
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_ends_again_and_again_is_not_made_for_ever() {
        let mut restarts = Restarts::default();
        let start = Instant::now();
        for number in 0..MAX_RESTARTS {
            assert!(restarts.allow("a", start + Duration::from_secs(number as u64)));
        }
        assert!(!restarts.allow("a", start + Duration::from_secs(10)));
        assert!(restarts.allow("b", start + Duration::from_secs(10)), "others may");
        assert!(restarts.allow("a", start + WINDOW), "the first time is long ago");
        assert!(!restarts.allow("a", start + WINDOW));
        restarts.allow("c", start + 3 * WINDOW);
        assert_eq!(restarts.0.len(), 1, "quiet ones are forgotten");
    }
}
