//! What happens when a guest ends: destroyed, made again, kept, as its config says.
//!
//! `noxsd` tells that some domain has ended (`VIRQ_DOM_EXC`), not which; Xen's list does. Guests that
//! ended while no `chaosd` ran, and guests that others have made, are found the same way.
//!
//! Before a guest that is to be made again is removed, that is written down
//! ([`Records::promise_restart`]). So it comes back, too, if this process is killed meanwhile, or if
//! there is no memory for it now. What could not be done is tried again when something has changed:
//! a domain has ended, or the configuration was read again. For what nobody tells of, such as a file
//! that was missing, there are some more tries after a while.
//!
//! [`Records::promise_restart`]: chaos::records::Records::promise_restart

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs;
use std::time::{Duration, Instant};

use chaos::chain::chain;
use chaos::config::{Action, DomainConfig};
use chaos::guests::{self, Condition, DomainWatch, EndedGuest, GuestState, Host, LifecycleError};
use chaos::records::Record;
use xen::units::{DomId, DomainHandle};

use crate::pace::Pace;

/// A guest that ends again and again is made again at most so often in [`WINDOW`].
pub const MAX_RESTARTS: usize = 5;

/// See [`MAX_RESTARTS`].
pub const WINDOW: Duration = Duration::from_secs(60);

/// How long to wait before the watch is tried again that was lost.
pub const RETRY: Duration = Duration::from_secs(1);

/// How often a promise is tried again though nothing is known to have changed: after
/// [`RETRY`], and then each time after twice as long.
pub const MAX_RETRIES: u32 = 6;

/// Makes a guest, however.
pub type Make<'a> = &'a mut dyn FnMut(&DomainConfig) -> Result<u16, String>;

/// Who has ended, and what was done about it.
#[derive(Debug, Default)]
pub struct Supervisor {
    restarts: Restarts,
    /// Handles of guests that are kept as they are.
    kept: HashSet<[u8; 16]>,
    /// Domains that have ended and are to be dealt with.
    ended: VecDeque<(DomId, DomainHandle)>,
    /// Guests that are to be made again, by name.
    promised: BTreeMap<String, Tries>,
    /// Those of them whose turn it is.
    due: VecDeque<String>,
    /// When to look who has ended.
    pace: Pace,
}

/// How often a promise could not be kept.
#[derive(Debug, Default)]
struct Tries {
    count: u32,
    /// When to try again though nothing has changed.
    next: Option<Instant>,
    /// Why it was not possible the last time.
    error: String,
}

impl Supervisor {
    /// Takes over the promises of those before.
    pub fn take_over(&mut self, host: &Host) {
        match host.records.restarts() {
            Ok(names) => {
                self.promised = names.into_iter().map(|name| (name, Tries::default())).collect();
            }
            Err(error) => {
                tracing::error!("guests that were to be made again are not: {}", chain(&error));
            }
        }
    }

    /// Some guest may have ended. [`look_at_clock`](Self::look_at_clock) finds out which.
    pub fn tell(&mut self) {
        self.pace.tell();
    }

    /// Looks which guests have ended. What could not be done before may be possible now.
    pub fn look(&mut self, host: &Host) {
        let began = Instant::now();
        let ended = guests::ended(host);
        self.pace.looked(began, Instant::now());
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => return tracing::error!("cannot ask which guests have ended: {error}"),
        };
        // What is kept and is gone meanwhile need not be remembered.
        let there: HashSet<[u8; 16]> = ended.iter().map(|(_, handle)| handle.0).collect();
        self.kept.retain(|handle| there.contains(handle));
        self.ended = ended.into_iter().filter(|(_, one)| !self.kept.contains(&one.0)).collect();
        self.due = self.promised.keys().cloned().collect();
    }

    /// When [`look_at_clock`](Self::look_at_clock) is to be called.
    #[must_use]
    pub fn retry(&self, now: Instant) -> Option<Instant> {
        let promises = self.promised.values().filter_map(|tries| tries.next);
        promises.chain(self.pace.next(now)).min()
    }

    /// Some promises may be due by now, and so may a look at who has ended.
    pub fn look_at_clock(&mut self, host: &Host, now: Instant) {
        if self.pace.is_due(now) {
            self.look(host);
        }
        for (name, tries) in &mut self.promised {
            if tries.next.is_some_and(|next| next <= now) {
                tries.next = None;
                self.due.push_back(name.clone());
            }
        }
    }

    /// Whether there is something to be done.
    #[must_use]
    pub fn has_turns(&self) -> bool {
        !self.ended.is_empty() || !self.due.is_empty()
    }

    /// Deals with one guest.
    pub fn turn(&mut self, host: &Host, make: Make<'_>) {
        let now = Instant::now();
        if let Some((domid, handle)) = self.ended.pop_front() {
            match guests::ended_guest(host, domid) {
                Ok(Some(guest)) if guest.record.handle == handle => {
                    if let Err(error) = self.deal_with(host, &guest, make, now) {
                        tracing::error!("{} stays as it is: {error}", guest.record.name());
                        self.kept.insert(handle.0);
                    }
                }
                // Somebody has taken it away meanwhile, or it is nobody of ours.
                Ok(_) => {}
                Err(error) => tracing::error!("cannot ask how a guest has ended: {error}"),
            }
        } else if let Some(name) = self.due.pop_front() {
            self.try_again(host, &name, make, now);
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
        let (name, how) = (record.name(), guest.state().as_str());
        // If this name was to be made again, here is somebody who has it.
        if self.promised.remove(name).is_some() {
            host.records.drop_restart(name).map_err(|error| chain(&error))?;
        }
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
                self.kept.insert(guest.handle().0);
            }
            Action::Destroy => {
                guests::remove_ended(host, guest).map_err(text)?;
                tracing::info!("{name} {how} and is destroyed");
            }
            Action::Restart => {
                let config = promise(host, record)?;
                guests::remove_ended(host, guest)
                    .inspect_err(|_| break_promise(host, name))
                    .map_err(text)?;
                if let Some(domid) = self.make(host, &config, make, now) {
                    tracing::info!("{name} {how} and is domain {domid} now");
                }
            }
            Action::RenameRestart => {
                let config = promise(host, record)?;
                let kept = guests::rename_ended(host, guest)
                    .inspect_err(|_| break_promise(host, name))
                    .map_err(text)?;
                self.kept.insert(guest.handle().0);
                if let Some(domid) = self.make(host, &config, make, now) {
                    tracing::info!("{name} {how}, is kept as {kept}, and is domain {domid} now");
                }
            }
        }
        Ok(())
    }

    /// Tries to keep a promise of before.
    fn try_again(&mut self, host: &Host, name: &str, make: Make<'_>, now: Instant) {
        let record = match host.records.promised_restart(name) {
            Ok(Some(record)) if record.name() == name => Ok(record),
            Ok(None) => {
                self.promised.remove(name);
                return tracing::info!("{name} is not made again: it was destroyed");
            }
            Ok(Some(_)) => Err("the promise belongs to another name".to_owned()),
            Err(error) => Err(chain(&error)),
        };
        let config = record.and_then(|record| match has_owner(host, &record)? {
            true => Ok(None),
            false => config(&record).map(Some),
        });
        match config {
            Ok(Some(config)) => {
                if let Some(domid) = self.make(host, &config, make, now) {
                    tracing::info!("{name}, which had ended, is domain {domid} now");
                }
            }
            Ok(None) => {
                self.promised.remove(name);
                break_promise(host, name);
                tracing::info!("{name} is not made again: there is a guest of this name");
            }
            Err(error) => self.failed(name, error, now),
        }
    }

    /// Makes a guest that is promised.
    fn make(
        &mut self,
        host: &Host,
        config: &DomainConfig,
        make: Make<'_>,
        now: Instant,
    ) -> Option<u16> {
        let name = &config.name;
        let domid = match make(config) {
            Ok(domid) => domid,
            Err(error) => {
                self.failed(name, error, now);
                return None;
            }
        };
        self.promised.remove(name);
        match host.records.drop_restart(name) {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!("{name} was destroyed while it was made again");
                if let Err(error) = guests::destroy(host, name) {
                    tracing::error!("{name} cannot be destroyed: {}", chain(&error));
                }
                return None;
            }
            // It is made again only once: the name has an owner now.
            Err(error) => tracing::error!("{}", chain(&error)),
        }
        Some(domid)
    }

    fn failed(&mut self, name: &str, error: String, now: Instant) {
        let tries = self.promised.entry(name.to_owned()).or_default();
        if tries.error != error {
            tracing::error!(
                "{name} cannot be made again: {error}; this is tried again when a domain ends, and \
                 some times before; chaos destroy {name} ends that"
            );
            tries.error = error;
        }
        tries.next = (tries.count < MAX_RETRIES).then(|| now + RETRY * (1 << tries.count));
        tries.count += 1;
    }
}

/// Writes down that a guest is made again. Gives the config for that.
fn promise(host: &Host, record: &Record) -> Result<DomainConfig, String> {
    let config = config(record)?;
    host.records.promise_restart(record).map_err(|error| chain(&error))?;
    Ok(config)
}

fn break_promise(host: &Host, name: &str) {
    if let Err(error) = host.records.drop_restart(name) {
        tracing::error!("{}", chain(&error));
    }
}

/// Whether a guest has the name of one that is to be made again, be it that one itself: then its end
/// has not been dealt with.
fn has_owner(host: &Host, record: &Record) -> Result<bool, String> {
    match guests::resolve(host, record.name()) {
        Ok(guest) => Ok(!matches!(guest.condition, Condition::HalfMade | Condition::Gone)),
        Err(LifecycleError::NoSuchGuest { .. }) => Ok(false),
        Err(error) => Err(chain(&error)),
    }
}

fn wanted(record: &Record, state: GuestState) -> Action {
    match state {
        GuestState::PoweredOff => record.config.on_poweroff,
        GuestState::Rebooted => record.config.on_reboot,
        _ => record.config.on_crash,
    }
}

/// The config that makes the guest again, if its files are still there: it is not taken away before
/// that is known.
fn config(record: &Record) -> Result<DomainConfig, String> {
    let config = record.config.clone();
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
