//! What happens when a guest exits: it is destroyed, restarted or kept, as its config says.
//!
//! `noxsd` reports that some domain has ended (`VIRQ_DOM_EXC`), not which one; Xen's list shows that.
//! Guests that ended while no `chaosd` ran, and guests that other processes created, are found the
//! same way.
//!
//! Before a guest that is to be restarted is removed, a pending restart is written
//! ([`Records::promise_restart`]). So it also comes back if this process is killed meanwhile, or if
//! there is no memory for it now. A restart that failed is tried again when something has changed: a
//! domain has ended, or the configuration was read again. For what is not reported, such as a file
//! that was missing, it is tried some more times after a while.
//!
//! [`Records::promise_restart`]: chaos::records::Records::promise_restart

mod error;
mod limit;
mod watch;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs;
use std::time::{Duration, Instant};

use chaos::config::{Action, DomainConfig};
use chaos::guests::{self, Condition, EndedGuest, GuestState, Host, LifecycleError};
use chaos::records::Record;
use daemon::chain::chain;
use xen::units::{DomId, DomainHandle};

use crate::pace::Pace;
use limit::RestartLimit;

pub use error::{Obstacle, RestartError};
pub use limit::{MAX_RESTARTS, WINDOW};
pub use watch::RenewedWatch;

/// When a pending restart is first tried again though nothing is known to have changed. Each
/// further try comes after twice as long.
pub const RETRY: Duration = Duration::from_secs(1);

/// How often a pending restart is tried again though nothing is known to have changed.
pub const MAX_RETRIES: u32 = 6;

/// Creates a guest from its config and returns its domid.
pub type CreateAgain<'a> = &'a mut dyn FnMut(&DomainConfig) -> Result<u16, RestartError>;

/// Which guests have ended, and what was done about it.
#[derive(Debug, Default)]
pub struct Supervisor {
    restarts: RestartLimit,
    /// Handles of guests that are kept as they are.
    kept: HashSet<[u8; 16]>,
    /// Domains that have ended and have not been dealt with.
    ended: VecDeque<(DomId, DomainHandle)>,
    /// Pending restarts, by the guest's name.
    pending: BTreeMap<String, Tries>,
    /// Those of them to try now.
    due: VecDeque<String>,
    /// When to look which guests have ended.
    pace: Pace,
}

/// The failed tries of a pending restart.
#[derive(Debug, Default)]
struct Tries {
    count: u32,
    /// When to try again though nothing has changed.
    next: Option<Instant>,
    /// Why the last one failed, as the log has it.
    error: String,
}

impl Supervisor {
    /// Takes over the restarts that an earlier `chaosd` left pending.
    pub fn take_over(&mut self, host: &Host) {
        match host.records.restarts() {
            Ok(names) => {
                self.pending = names.into_iter().map(|name| (name, Tries::default())).collect();
            }
            Err(error) => {
                tracing::error!("cannot read the pending restarts: {}", chain(&error));
            }
        }
    }

    /// Notes that some guest may have ended. [`look_at_clock`](Self::look_at_clock) finds out which.
    pub fn note_end(&mut self) {
        self.pace.note_end();
    }

    /// Looks which guests have ended, and makes all pending restarts due: they may succeed now.
    pub fn look(&mut self, host: &Host) {
        let began = Instant::now();
        let ended = guests::ended(host);
        self.pace.looked(began, Instant::now());
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                return tracing::error!(
                    "cannot list the guests that have ended: {}",
                    chain(&error)
                );
            }
        };
        // Kept guests that have been destroyed meanwhile are forgotten.
        let there: HashSet<[u8; 16]> = ended.iter().map(|(_, handle)| handle.0).collect();
        self.kept.retain(|handle| there.contains(handle));
        self.ended = ended.into_iter().filter(|(_, one)| !self.kept.contains(&one.0)).collect();
        self.due = self.pending.keys().cloned().collect();
    }

    /// Returns when to call [`look_at_clock`](Self::look_at_clock).
    #[must_use]
    pub fn retry(&self, now: Instant) -> Option<Instant> {
        let pending = self.pending.values().filter_map(|tries| tries.next);
        pending.chain(self.pace.next(now)).min()
    }

    /// Looks which guests have ended, and which pending restarts are due, if it is time.
    pub fn look_at_clock(&mut self, host: &Host, now: Instant) {
        if self.pace.is_due(now) {
            self.look(host);
        }
        for (name, tries) in &mut self.pending {
            if tries.next.is_some_and(|next| next <= now) {
                tries.next = None;
                self.due.push_back(name.clone());
            }
        }
    }

    /// Returns whether [`turn`](Self::turn) has something to do.
    #[must_use]
    pub fn has_turns(&self) -> bool {
        !self.ended.is_empty() || !self.due.is_empty()
    }

    /// Deals with one guest that has ended, or tries one pending restart.
    pub fn turn(&mut self, host: &Host, create: CreateAgain<'_>) {
        let now = Instant::now();
        if let Some((domid, handle)) = self.ended.pop_front() {
            match guests::ended_guest(host, domid) {
                Ok(Some(guest)) if guest.record.handle == handle => {
                    if let Err(error) = self.deal_with(host, &guest, create, now) {
                        let name = guest.record.name();
                        tracing::error!("{name} is kept as it is: {}", chain(&error));
                        self.kept.insert(handle.0);
                    }
                }
                // It was removed meanwhile, or it is another toolstack's domain.
                Ok(_) => {}
                Err(error) => {
                    tracing::error!("cannot tell how domain {domid} has ended: {}", chain(&error));
                }
            }
        } else if let Some(name) = self.due.pop_front() {
            self.try_again(host, &name, create, now);
        }
    }

    fn deal_with(
        &mut self,
        host: &Host,
        guest: &EndedGuest,
        create: CreateAgain<'_>,
        now: Instant,
    ) -> Result<(), RestartError> {
        let record = &guest.record;
        let (name, how) = (record.name(), guest.state().as_str());
        // A restart that was pending under this name is overtaken by this guest.
        if self.pending.remove(name).is_some() {
            host.records.drop_restart(name)?;
        }
        let mut action = wanted(record, guest.state());
        if matches!(action, Action::Restart | Action::RenameRestart)
            && !self.restarts.allow(name, now)
        {
            let seconds = WINDOW.as_secs();
            tracing::error!(
                "{name} {how}; it was restarted {MAX_RESTARTS} times in {seconds} s and is kept now"
            );
            action = Action::Preserve;
        }
        match action {
            Action::Preserve => {
                tracing::info!("{name} {how} and is kept");
                self.kept.insert(guest.handle().0);
            }
            Action::Destroy => {
                guests::remove_ended(host, guest)?;
                tracing::info!("{name} {how} and is destroyed");
            }
            Action::Restart => {
                let config = write_pending(host, record)?;
                guests::remove_ended(host, guest).inspect_err(|_| cancel(host, name))?;
                if let Some(domid) = self.restart(host, &config, create, now) {
                    tracing::info!("{name} {how} and is domain {domid} now");
                }
            }
            Action::RenameRestart => {
                let config = write_pending(host, record)?;
                let kept = guests::rename_ended(host, guest).inspect_err(|_| cancel(host, name))?;
                self.kept.insert(guest.handle().0);
                if let Some(domid) = self.restart(host, &config, create, now) {
                    tracing::info!("{name} {how}, is kept as {kept}, and is domain {domid} now");
                }
            }
        }
        Ok(())
    }

    /// Tries a restart that has been pending.
    fn try_again(&mut self, host: &Host, name: &str, create: CreateAgain<'_>, now: Instant) {
        match pending(host, name) {
            Ok(Pending::Config(config)) => {
                if let Some(domid) = self.restart(host, &config, create, now) {
                    tracing::info!("{name}, which had ended, is domain {domid} now");
                }
            }
            Ok(Pending::Cancelled) => {
                self.pending.remove(name);
                tracing::info!("{name} is not restarted: it was destroyed");
            }
            Ok(Pending::NameTaken) => {
                self.pending.remove(name);
                cancel(host, name);
                tracing::info!("{name} is not restarted: another guest has its name");
            }
            Err(error) => self.failed(name, &error, now),
        }
    }

    /// Creates a guest whose restart is pending, and returns its domid if that worked.
    fn restart(
        &mut self,
        host: &Host,
        config: &DomainConfig,
        create: CreateAgain<'_>,
        now: Instant,
    ) -> Option<u16> {
        let name = &config.name;
        let domid = match create(config) {
            Ok(domid) => domid,
            Err(error) => {
                self.failed(name, &error, now);
                return None;
            }
        };
        self.pending.remove(name);
        match host.records.drop_restart(name) {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!("{name} was destroyed while it was restarted");
                if let Err(error) = guests::destroy(host, name) {
                    tracing::error!("cannot destroy {name}: {}", chain(&error));
                }
                return None;
            }
            // It is not restarted twice: another try finds that the name is taken.
            Err(error) => tracing::error!("{}", chain(&error)),
        }
        Some(domid)
    }

    fn failed(&mut self, name: &str, error: &RestartError, now: Instant) {
        let tries = self.pending.entry(name.to_owned()).or_default();
        let text = chain(error);
        if tries.error != text {
            tracing::error!(
                "cannot restart {name}: {text}; {}, and up to {MAX_RETRIES} times on its own; \
                 chaos destroy {name} cancels the restart",
                error.obstacle().remedy()
            );
            tries.error = text;
        }
        tries.next = (tries.count < MAX_RETRIES).then(|| now + RETRY * (1 << tries.count));
        tries.count += 1;
    }
}

/// What has become of a pending restart.
enum Pending {
    /// The guest can be created from this config.
    Config(Box<DomainConfig>),
    /// The guest was destroyed.
    Cancelled,
    /// Another guest has its name.
    NameTaken,
}

fn pending(host: &Host, name: &str) -> Result<Pending, RestartError> {
    match host.records.promised_restart(name)? {
        None => Ok(Pending::Cancelled),
        Some(record) if record.name() != name => {
            Err(RestartError::OtherName { found: record.name().to_owned() })
        }
        Some(record) if name_is_taken(host, &record)? => Ok(Pending::NameTaken),
        Some(record) => Ok(Pending::Config(Box::new(config(&record)?))),
    }
}

/// Writes that a guest is to be restarted, and returns the config for that.
fn write_pending(host: &Host, record: &Record) -> Result<DomainConfig, RestartError> {
    let config = config(record)?;
    host.records.promise_restart(record)?;
    Ok(config)
}

fn cancel(host: &Host, name: &str) {
    if let Err(error) = host.records.drop_restart(name) {
        tracing::error!("{}", chain(&error));
    }
}

/// Returns whether a guest has the name. It may be the one to restart itself, if its end has not been
/// dealt with.
fn name_is_taken(host: &Host, record: &Record) -> Result<bool, LifecycleError> {
    match guests::resolve(host, record.name()) {
        Ok(guest) => Ok(!matches!(guest.condition, Condition::Incomplete | Condition::Gone)),
        Err(LifecycleError::NoSuchGuest { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn wanted(record: &Record, state: GuestState) -> Action {
    match state {
        GuestState::PoweredOff => record.config.on_poweroff,
        GuestState::Rebooted => record.config.on_reboot,
        _ => record.config.on_crash,
    }
}

/// Returns the config that creates the guest again, if its files are still there: it is not removed
/// before that is known.
fn config(record: &Record) -> Result<DomainConfig, RestartError> {
    let config = record.config.clone();
    for path in [Some(&config.kernel), config.ramdisk.as_ref()].into_iter().flatten() {
        fs::metadata(path).map_err(|source| RestartError::File { path: path.clone(), source })?;
    }
    Ok(config)
}
