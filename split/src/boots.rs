// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs the bootloaders of root's guests that are restarted.
//!
//! A bootloader may take minutes, and reads what a guest has written. So each runs in a thread (and
//! there in a process without rights, [`chaos::bootloader`]), and the main thread is woken when one has
//! ended.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use chaos::bootloader::{self, BootFiles, BootloaderError};
use chaos::config::DomainConfig;
use chaos::guests::LifecycleError;
use chaos::image::open_for_another_process;
use mio::Waker;
use xen::units::DomainHandle;

use crate::restart_files::OpenFiles;
use crate::supervise::RestartError;

/// The most bootloaders that run at once: each may fill some memory of dom0.
const AT_ONCE: usize = 2;

/// Runs the bootloader of a config, and opens its PV shim.
type Run = dyn Fn(&DomainConfig) -> Result<Booted, RestartError> + Send + Sync;

/// What a guest boots.
#[derive(Debug)]
pub(crate) struct Booted {
    /// Its files.
    pub(crate) files: OpenFiles,
    /// Its config, with what the bootloader has found.
    pub(crate) config: DomainConfig,
}

/// A guest that is restarted. Its name is not enough: it may be destroyed, and another one created that
/// has its name, while its bootloader runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Guest {
    name: String,
    /// The handle of its record.
    handle: DomainHandle,
}

/// The bootloaders that run, wait, or have ended.
pub(crate) struct Boots {
    waker: Option<Arc<Waker>>,
    run: Arc<Run>,
    sender: Sender<(Guest, Result<Booted, RestartError>)>,
    receiver: Receiver<(Guest, Result<Booted, RestartError>)>,
    /// The guests whose bootloader runs.
    running: HashSet<Guest>,
    /// Those whose bootloader waits, in the order in which it was asked for.
    waiting: VecDeque<(Guest, DomainConfig)>,
    /// What was found, by guest.
    done: HashMap<Guest, Result<Booted, RestartError>>,
}

impl std::fmt::Debug for Boots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { running, waiting, done, .. } = self;
        let waiting: Vec<_> = waiting.iter().map(|(guest, _)| guest).collect();
        let done: Vec<_> = done.keys().collect();
        f.debug_struct("Boots")
            .field("running", running)
            .field("waiting", &waiting)
            .field("done", &done)
            .finish_non_exhaustive()
    }
}

impl Boots {
    /// Returns none. `waker` wakes the main thread when a bootloader has ended.
    pub(crate) fn new(waker: Option<Arc<Waker>>) -> Self {
        Self::with(waker, Arc::new(boot))
    }

    fn with(waker: Option<Arc<Waker>>, run: Arc<Run>) -> Self {
        let (sender, receiver) = channel();
        let (running, waiting, done) = (HashSet::new(), VecDeque::new(), HashMap::new());
        Self { waker, run, sender, receiver, running, waiting, done }
    }

    /// Returns what the bootloader of a guest has found. It can be taken until [`forget`](Self::forget).
    /// `handle` is that of the guest's record.
    ///
    /// # Errors
    /// [`RestartError::Booting`] if it has not ended yet; it is started if it was not. Or it has found
    /// nothing.
    pub(crate) fn take(
        &mut self,
        name: &str,
        handle: DomainHandle,
        config: &DomainConfig,
    ) -> Result<Booted, RestartError> {
        let guest = Guest { name: name.to_owned(), handle };
        match self.done.remove(&guest) {
            Some(Ok(booted)) => {
                let copy = booted.try_clone().map_err(LifecycleError::Process)?;
                self.done.insert(guest, Ok(booted));
                return Ok(copy);
            }
            Some(Err(error)) => return Err(error),
            None => {}
        }
        if !self.running.contains(&guest) && !self.waiting.iter().any(|(other, _)| *other == guest)
        {
            self.waiting.push_back((guest, config.clone()));
            self.start_next()?;
        }
        Err(RestartError::Booting)
    }

    /// Returns the name of a guest whose bootloader has ended since, if there is one.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let (guest, result) = self.receiver.try_recv().ok()?;
        Some(self.has_ended(guest, result))
    }

    fn has_ended(&mut self, guest: Guest, result: Result<Booted, RestartError>) -> String {
        self.running.remove(&guest);
        let name = guest.name.clone();
        self.done.insert(guest, result);
        // It is tried again when its own guest is.
        let _ = self.start_next();
        name
    }

    /// Closes the files that were found for guests of this name.
    pub(crate) fn forget(&mut self, name: &str) {
        self.done.retain(|guest, _| guest.name != name);
    }

    fn start_next(&mut self) -> Result<(), LifecycleError> {
        while self.running.len() < AT_ONCE
            && let Some((guest, config)) = self.waiting.pop_front()
        {
            let (run, sender, waker) =
                (Arc::clone(&self.run), self.sender.clone(), self.waker.clone());
            let of_thread = guest.clone();
            let thread = thread::Builder::new().name("boot".into());
            let spawned = thread.spawn(move || {
                let result = run(&config);
                // If sending fails, the main thread is exiting.
                let is_sent = sender.send((of_thread, result)).is_ok();
                if let Some(waker) = waker.filter(|_| is_sent) {
                    let _ = waker.wake();
                }
            });
            spawned.map_err(LifecycleError::Process)?;
            self.running.insert(guest);
        }
        Ok(())
    }
}

impl Booted {
    fn try_clone(&self) -> io::Result<Self> {
        let OpenFiles { kernel, pv_kernel, ramdisk } = &self.files;
        let copy =
            |file: &Option<std::fs::File>| file.as_ref().map(std::fs::File::try_clone).transpose();
        let files = OpenFiles {
            kernel: kernel.try_clone()?,
            pv_kernel: copy(pv_kernel)?,
            ramdisk: copy(ramdisk)?,
        };
        Ok(Self { files, config: self.config.clone() })
    }
}

/// Checks that the bootloader of a guest can run, if it has one.
///
/// # Errors
/// The program is missing.
pub(crate) fn check(config: &DomainConfig) -> Result<bool, BootloaderError> {
    match config.extras().bootloader.as_deref() {
        Some(bootloader) => bootloader::find(&bootloader.program).map(|_| true),
        None => Ok(false),
    }
}

/// Runs the bootloader of a guest.
fn boot(config: &DomainConfig) -> Result<Booted, RestartError> {
    let (bootloader, disk) = (config.extras().bootloader.as_deref(), config.disks.first());
    let (Some(bootloader), Some(disk)) = (bootloader, disk) else {
        return Err(RestartError::NoBootDisk);
    };
    let BootFiles { kernel, ramdisk, cmdline } = bootloader::run(bootloader, &disk.target)?;
    let mut config = config.clone();
    config.cmdline = cmdline;
    // The name for messages, as the one of the kernel, which stays.
    config.ramdisk = ramdisk.as_ref().map(|_| config.kernel.clone());
    let (kernel, pv_kernel) = match config.pv_kernel().is_some() {
        true => {
            let shim = config.boot_kernel();
            let opened = open_for_another_process(shim)
                .map_err(|source| LifecycleError::Kernel { path: shim.to_owned(), source })?;
            (opened, Some(kernel))
        }
        false => (kernel, None),
    };
    Ok(Booted { files: OpenFiles { kernel, pv_kernel, ramdisk }, config })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;

    use super::*;

    fn config(name: &str) -> DomainConfig {
        let text = format!(
            "name='{name}'\ntype='pvh'\nbootloader='/no/such/program'\ndisk=['/dev/null,raw,xvda,r']"
        );
        chaos::config::parse_str("x", &text, &[], true).unwrap().config
    }

    const FIRST: DomainHandle = DomainHandle([1; 16]);
    const SECOND: DomainHandle = DomainHandle([2; 16]);

    /// Waits until a bootloader has ended, and returns the name of its guest.
    fn wait_for_one(boots: &mut Boots) -> String {
        let (guest, result) = boots.receiver.recv().unwrap();
        boots.has_ended(guest, result)
    }

    fn found(config: &DomainConfig) -> Booted {
        let kernel = tempfile::tempfile().unwrap();
        let files = OpenFiles { kernel, pv_kernel: None, ramdisk: None };
        Booted { files, config: DomainConfig { cmdline: "found".into(), ..config.clone() } }
    }

    #[test]
    fn a_bootloader_runs_once_until_its_guest_is_created() {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let run = move |config: &DomainConfig| {
            wait.lock().unwrap().recv().unwrap();
            Ok(found(config))
        };
        let mut boots = Boots::with(None, Arc::new(run));
        let guest = config("a");
        for _ in 0..3 {
            assert!(matches!(boots.take("a", FIRST, &guest), Err(RestartError::Booting)));
        }
        assert!(boots.ended().is_none() && boots.running.len() == 1);
        go.send(()).unwrap();
        assert_eq!(wait_for_one(&mut boots), "a");
        // Its kernel may have to be read in between.
        for _ in 0..2 {
            assert_eq!(boots.take("a", FIRST, &guest).unwrap().config.cmdline, "found");
        }
        boots.forget("a");
        assert!(matches!(boots.take("a", FIRST, &guest), Err(RestartError::Booting)));
        go.send(()).unwrap();
    }

    #[test]
    fn a_guest_does_not_get_what_was_found_for_an_earlier_one_of_its_name() {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let run = move |config: &DomainConfig| {
            wait.lock().unwrap().recv().unwrap();
            Ok(found(config))
        };
        let mut boots = Boots::with(None, Arc::new(run));
        let (old, mut new) = (config("a"), config("a"));
        new.vcpus = 2;
        assert!(matches!(boots.take("a", FIRST, &old), Err(RestartError::Booting)));
        // While it runs, the guest is destroyed, and another one is created that ends, too.
        assert!(matches!(boots.take("a", SECOND, &new), Err(RestartError::Booting)));
        for _ in 0..2 {
            go.send(()).unwrap();
            assert_eq!(wait_for_one(&mut boots), "a");
        }
        assert_eq!(boots.take("a", SECOND, &new).unwrap().config.vcpus, 2);
        boots.forget("a");
        assert!(boots.done.is_empty());
    }

    #[test]
    fn few_bootloaders_run_at_once_and_the_others_follow_in_their_order() {
        let (started, starts) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let (wait, started) = (Mutex::new(wait), Mutex::new(started));
        let run = move |config: &DomainConfig| {
            started.lock().unwrap().send(config.name.clone()).unwrap();
            wait.lock().unwrap().recv().unwrap();
            Err(RestartError::NoBootDisk)
        };
        let mut boots = Boots::with(None, Arc::new(run));
        let names = ["a", "b", "c", "d"];
        for name in names {
            assert!(matches!(boots.take(name, FIRST, &config(name)), Err(RestartError::Booting)));
        }
        let mut begun = vec![starts.recv().unwrap(), starts.recv().unwrap()];
        begun.sort();
        assert_eq!(begun, ["a", "b"]);
        assert_eq!((boots.running.len(), boots.waiting.len()), (AT_ONCE, 2));
        for wanted in ["c", "d"] {
            go.send(()).unwrap();
            wait_for_one(&mut boots);
            assert_eq!(starts.recv().unwrap(), wanted);
        }
        for _ in 0..2 {
            go.send(()).unwrap();
        }
        // A failure is reported once, and the next attempt runs the program again.
        let name = boots.done.keys().next().unwrap().name.clone();
        assert!(matches!(boots.take(&name, FIRST, &config(&name)), Err(RestartError::NoBootDisk)));
        assert!(matches!(boots.take(&name, FIRST, &config(&name)), Err(RestartError::Booting)));
        go.send(()).unwrap();
    }

    #[test]
    fn a_guest_whose_bootloader_is_gone_is_not_removed() {
        let error = check(&config("a")).unwrap_err();
        assert!(error.to_string().contains("/no/such/program does not exist"), "{error}");
        let text = "name='b'\ntype='pvh'\nkernel='k'";
        let plain = chaos::config::parse_str("x", text, &[], true).unwrap().config;
        assert!(!check(&plain).unwrap());
    }
}
