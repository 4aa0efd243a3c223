// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs the bootloaders of root's guests that are restarted.
//!
//! A bootloader may take minutes, and reads what a guest has written. So each runs in a thread (and
//! there in a process without rights, [`chaos::bootloader`]), and the main thread is woken when one has
//! ended.

use std::collections::{HashMap, VecDeque};
use std::io::{self, PipeReader, PipeWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

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

/// How long a bootloader and what is done before it may take. It ends within its own maximum, unless the
/// storage of the disk does not answer: Linux does not kill a process that waits for that.
const PATIENCE: Duration = bootloader::TIMEOUT.saturating_add(Duration::from_secs(10));

/// The most threads that wait for storage. Until one of them ends, no other bootloader is started.
const MAX_HUNG: usize = 4;

/// Runs the bootloader of a config until a pipe closes, and opens its PV shim.
type Run = dyn Fn(&DomainConfig, &PipeReader) -> Result<Booted, RestartError> + Send + Sync;

/// What a thread does.
type Work = Box<dyn FnOnce() + Send>;

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

/// A bootloader that runs.
struct Running {
    disk: PathBuf,
    /// It is stopped when this is dropped.
    wanted: Option<PipeWriter>,
    /// The thread that waits for it has the other end, and sends nothing.
    thread: Receiver<()>,
}

/// The bootloaders that run, wait, or have ended.
pub(crate) struct Boots {
    waker: Option<Arc<Waker>>,
    run: Arc<Run>,
    sender: Sender<(Guest, Result<Booted, RestartError>)>,
    receiver: Receiver<(Guest, Result<Booted, RestartError>)>,
    spawn: fn(Work) -> io::Result<()>,
    patience: Duration,
    /// The guests whose bootloader runs.
    running: HashMap<Guest, Running>,
    /// The disks whose storage did not answer in time, and the threads that still wait for it.
    hung: Vec<(PathBuf, Receiver<()>)>,
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
            .field("running", &running.keys())
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
        Self {
            waker,
            run,
            sender,
            receiver,
            spawn: in_thread,
            patience: PATIENCE,
            running: HashMap::new(),
            hung: Vec::new(),
            waiting: VecDeque::new(),
            done: HashMap::new(),
        }
    }

    /// Returns what the bootloader of a guest has found. It can be taken until [`forget`](Self::forget).
    /// `handle` is that of the guest's record.
    ///
    /// # Errors
    /// [`RestartError::Booting`] if it has not ended yet; it is started if it was not. Or it has found
    /// nothing, or the storage of its disk does not answer.
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
        if !self.running.contains_key(&guest)
            && !self.waiting.iter().any(|(other, _)| *other == guest)
        {
            self.hung.retain(|(_, thread)| matches!(thread.try_recv(), Err(TryRecvError::Empty)));
            let disk = disk_of(config);
            if self.hung.len() >= MAX_HUNG || self.hung.iter().any(|(other, _)| other == disk) {
                return Err(RestartError::Silent { path: disk.to_owned() });
            }
            self.waiting.push_back((guest, config.clone()));
            self.start_next();
        }
        Err(RestartError::Booting)
    }

    /// Returns the name of a guest whose bootloader has ended since, if there is one.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let (guest, result) = self.receiver.try_recv().ok()?;
        Some(self.has_ended(guest, result))
    }

    fn has_ended(&mut self, guest: Guest, result: Result<Booted, RestartError>) -> String {
        if let Some(Running { disk, thread, .. }) = self.running.remove(&guest)
            && matches!(result, Err(RestartError::Silent { .. }))
        {
            self.hung.push((disk, thread));
        }
        let name = guest.name.clone();
        self.done.insert(guest, result);
        self.start_next();
        name
    }

    /// Ends the bootloaders of guests of this name, which are not restarted.
    pub(crate) fn cancel(&mut self, name: &str) {
        self.keep_waiting(|other, _| other != name);
        for (_, running) in self.running.iter_mut().filter(|(guest, _)| guest.name == name) {
            running.wanted = None;
        }
        self.forget(name);
    }

    /// Keeps only some of the guests whose bootloaders wait.
    pub(crate) fn keep_waiting(&mut self, is_kept: impl Fn(&str, DomainHandle) -> bool) {
        self.waiting.retain(|(guest, _)| is_kept(&guest.name, guest.handle));
    }

    /// Closes the files that were found for guests of this name.
    pub(crate) fn forget(&mut self, name: &str) {
        self.done.retain(|guest, _| guest.name != name);
    }

    fn start_next(&mut self) {
        while self.running.len() < AT_ONCE
            && let Some((guest, config)) = self.waiting.pop_front()
        {
            match self.start(&guest, config) {
                Ok(running) => drop(self.running.insert(guest, running)),
                // It is reported as the failure of a bootloader, so that the restart is tried again.
                Err(error) => {
                    let error = LifecycleError::Process(error).into();
                    Answer { guest, sender: self.sender.clone(), waker: self.waker.clone() }
                        .send(Err(error));
                }
            }
        }
    }

    fn start(&self, guest: &Guest, config: DomainConfig) -> io::Result<Running> {
        let (stop, wanted) = io::pipe()?;
        let (run, patience) = (Arc::clone(&self.run), self.patience);
        let answer =
            Answer { guest: guest.clone(), sender: self.sender.clone(), waker: self.waker.clone() };
        let disk = disk_of(&config).to_owned();
        let of_thread = disk.clone();
        let (runs, thread) = channel();
        (self.spawn)(Box::new(move || {
            let (done, result) = channel();
            let spawned = in_thread(Box::new(move || {
                // If sending fails, the other thread waits no longer.
                let _ = done.send(run(&config, &stop));
                drop(runs);
            }));
            answer.send(match spawned {
                Ok(()) => result.recv_timeout(patience).unwrap_or_else(|error| match error {
                    RecvTimeoutError::Timeout => Err(RestartError::Silent { path: of_thread }),
                    RecvTimeoutError::Disconnected => Err(BootloaderError::Panic.into()),
                }),
                Err(error) => Err(LifecycleError::Process(error).into()),
            });
        }))?;
        Ok(Running { disk, wanted: Some(wanted), thread })
    }
}

/// Where a thread reports what a bootloader has found.
struct Answer {
    guest: Guest,
    sender: Sender<(Guest, Result<Booted, RestartError>)>,
    waker: Option<Arc<Waker>>,
}

impl Answer {
    fn send(self, result: Result<Booted, RestartError>) {
        // If sending fails, the main thread is exiting.
        let is_sent = self.sender.send((self.guest, result)).is_ok();
        if let Some(waker) = self.waker.filter(|_| is_sent) {
            let _ = waker.wake();
        }
    }
}

fn in_thread(work: Work) -> io::Result<()> {
    thread::Builder::new().name("boot".into()).spawn(work).map(drop)
}

/// Returns the disk that the bootloader of a config looks at.
fn disk_of(config: &DomainConfig) -> &Path {
    config.disks.first().map_or(Path::new(""), |disk| &disk.target)
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

/// Runs the bootloader of a guest until `stop` closes.
fn boot(config: &DomainConfig, stop: &PipeReader) -> Result<Booted, RestartError> {
    let (bootloader, disk) = (config.extras().bootloader.as_deref(), config.disks.first());
    let (Some(bootloader), Some(disk)) = (bootloader, disk) else {
        return Err(RestartError::NoBootDisk);
    };
    let BootFiles { kernel, ramdisk, cmdline } = bootloader::run_until(bootloader, disk, stop)?;
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
    use std::io::Read;
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

    /// Returns bootloaders that each find a kernel when a message is sent.
    fn waiting_for_go() -> (Boots, Sender<()>) {
        let (go, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        let run = move |config: &DomainConfig, _: &PipeReader| {
            wait.lock().unwrap().recv().unwrap();
            Ok(found(config))
        };
        (Boots::with(None, Arc::new(run)), go)
    }

    #[test]
    fn a_bootloader_runs_once_until_its_guest_is_created() {
        let (mut boots, go) = waiting_for_go();
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
        let (mut boots, go) = waiting_for_go();
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
        let run = move |config: &DomainConfig, _: &PipeReader| {
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
    fn the_bootloaders_of_guests_that_were_destroyed_are_stopped_or_not_started() {
        let (started, starts) = mpsc::channel();
        let started = Mutex::new(started);
        let run = move |config: &DomainConfig, mut stop: &PipeReader| {
            started.lock().unwrap().send(config.name.clone()).unwrap();
            // The pipe ends when the program is to be stopped.
            assert_eq!(stop.read(&mut [0]).unwrap(), 0);
            Err(BootloaderError::Unwanted.into())
        };
        let mut boots = Boots::with(None, Arc::new(run));
        for name in ["a", "b", "c", "d"] {
            assert!(matches!(boots.take(name, FIRST, &config(name)), Err(RestartError::Booting)));
        }
        for _ in 0..AT_ONCE {
            starts.recv().unwrap();
        }
        boots.cancel("c");
        boots.cancel("a");
        assert_eq!(wait_for_one(&mut boots), "a");
        assert_eq!(starts.recv().unwrap(), "d");
        boots.keep_waiting(|_, _| unreachable!());
        boots.cancel("b");
        boots.cancel("d");
        for _ in 0..2 {
            wait_for_one(&mut boots);
        }
        assert!(boots.running.is_empty());
    }

    #[test]
    fn a_bootloader_that_cannot_be_started_is_one_that_has_failed() {
        let run = |config: &DomainConfig, _: &PipeReader| Ok(found(config));
        let mut boots = Boots::with(None, Arc::new(run));
        boots.spawn = |_| Err(io::ErrorKind::WouldBlock.into());
        let guest = config("a");
        assert!(matches!(boots.take("a", FIRST, &guest), Err(RestartError::Booting)));
        assert_eq!(boots.ended().as_deref(), Some("a"));
        assert!(matches!(boots.take("a", FIRST, &guest), Err(RestartError::Guest(_))));
        // The next attempt starts it.
        boots.spawn = in_thread;
        assert!(matches!(boots.take("a", FIRST, &guest), Err(RestartError::Booting)));
        assert_eq!(wait_for_one(&mut boots), "a");
        boots.take("a", FIRST, &guest).unwrap();
    }

    #[test]
    fn storage_that_does_not_answer_holds_no_other_bootloader() {
        let (answer, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let run = move |config: &DomainConfig, _: &PipeReader| {
            if config.name.starts_with("hung") {
                let _ = wait.lock().unwrap().recv();
            }
            Ok(found(config))
        };
        let mut boots = Boots::with(None, Arc::new(run));
        let on = |name: &str, disk: &str| {
            let mut config = config(name);
            config.disks[0].target = disk.into();
            config
        };
        let begin = |boots: &mut Boots, name: &str, disk: &str| {
            boots.take(name, FIRST, &on(name, disk)).map(drop).unwrap_err()
        };
        for number in 0..MAX_HUNG {
            boots.patience = Duration::from_millis(20);
            let (name, disk) = (format!("hung{number}"), format!("/nfs/{number}"));
            assert!(matches!(begin(&mut boots, &name, &disk), RestartError::Booting));
            assert_eq!(wait_for_one(&mut boots), name);
            assert!(matches!(begin(&mut boots, &name, &disk), RestartError::Silent { .. }));
            // It is not asked again.
            assert!(matches!(begin(&mut boots, &name, &disk), RestartError::Silent { .. }));
            assert!(boots.running.is_empty());
            boots.patience = PATIENCE;
            if number + 1 < MAX_HUNG {
                assert!(matches!(begin(&mut boots, "a", "/local"), RestartError::Booting));
                assert_eq!(wait_for_one(&mut boots), "a");
                boots.forget("a");
            }
        }
        assert!(matches!(begin(&mut boots, "a", "/local"), RestartError::Silent { .. }));
        // When the storage answers, all is as before.
        drop(answer);
        boots.hung.iter().for_each(|(_, thread)| assert!(thread.recv().is_err()));
        assert!(matches!(begin(&mut boots, "a", "/local"), RestartError::Booting));
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
