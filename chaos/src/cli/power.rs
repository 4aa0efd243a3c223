// SPDX-License-Identifier: GPL-3.0-or-later
//! The commands that ask guests to power off or to reboot.

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use chaos::clients::chaosd;
use chaos::guests::{
    self, GuestState, Host, LifecycleError, ListedGuest, ShutdownOptions, ShutdownOutcome,
};
use chaos::request::PoolControl;

use super::MAX_TIMEOUT;
use super::args::ShutdownArgs;
use super::failure::{Failure, FirstFailure};
use super::output::Output;

/// How many guests are asked at the same time, if all are.
const AT_ONCE: usize = 16;

/// Asks a guest, or all of them.
pub(super) fn run(
    args: &ShutdownArgs,
    request: noxs::Request,
    output: &mut Output,
) -> Result<(), Failure> {
    let timeout = Duration::from_secs(args.timeout).min(MAX_TIMEOUT);
    let is_supervised = chaosd::client::is_running(&chaosd::socket());
    let options = ShutdownOptions { request, wait: args.wait, is_supervised, timeout };
    let host = Host::open()?;
    let targets = match &args.guest {
        Some(guest) => vec![guest.clone()],
        None => all(&host)?,
    };
    let mut outcomes = Vec::new();
    let mut failure = FirstFailure::default();
    for asked in ask(&host, &targets, options) {
        match asked {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => failure.add(error, output),
        }
    }
    if is_supervised && outcomes.iter().any(|outcome| outcome.destroyed) {
        // chaosd answers once it has freed the name, too, which it does after it has destroyed the
        // domain. If it does not answer, it is being restarted, and the new one frees it.
        let _ = PoolControl::connect().map(|chaosd| chaosd.status());
    }
    for outcome in &outcomes {
        if !is_supervised && outcome.action.restarts() {
            output.warning(&format!(
                "chaosd does not run, so nothing restarts guest {}: it stays listed until chaos \
                 destroy",
                outcome.name
            ));
        }
    }
    match outcomes.first() {
        _ if args.json && args.all => output.json(&outcomes),
        Some(outcome) if args.json => output.json(outcome),
        _ => {}
    }
    failure.result()
}

/// Returns the domids of all guests that can be asked.
fn all(host: &Host) -> Result<Vec<String>, LifecycleError> {
    let runs = |guest: &ListedGuest| {
        use GuestState::{Creating, Incomplete, PendingRestart};
        !guest.state.has_ended() && !matches!(guest.state, Creating | Incomplete | PendingRestart)
    };
    let guests = guests::list(host, false)?.guests.into_iter().filter(runs);
    Ok(guests.filter_map(|guest| Some(guest.domid?.to_string())).collect())
}

/// Asks the guests, several at a time: one that does not answer delays few others.
fn ask(
    host: &Host,
    targets: &[String],
    options: ShutdownOptions,
) -> Vec<Result<ShutdownOutcome, LifecycleError>> {
    if let [target] = targets {
        return vec![guests::shutdown(host, target, options)];
    }
    let todo = Mutex::new(targets.iter());
    let next = || todo.lock().ok()?.next();
    let work = || {
        let mut done = Vec::new();
        while let Some(target) = next() {
            // A host belongs to one thread.
            done.push(Host::open().and_then(|host| guests::shutdown(&host, target, options)));
        }
        done
    };
    let threads = AT_ONCE.min(targets.len());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    })
}
