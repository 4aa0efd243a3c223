// SPDX-License-Identifier: GPL-3.0-or-later
//! Starts `chaosd` for a test, and stops or kills it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::kill::{Death, Doomed};
use crate::run::chaos;
use crate::watch::wait_for_file;

/// The settings of a pool with one or two shells for daytime guests, for tests in which creates of
/// several kinds overlap.
pub const SMALL_POOL: &str = "memory = '32M'
[[flavour]]
name = 'daytime'
memory = '4M'
bridges = ['xenbr0']
low = 1
high = 2
";

/// The last line in the log of a [`DoomedChaosd`] that has exited or been killed.
const DEAD: &str = "chaosd is dead\n";

/// A `chaosd` that is stopped at the end of its test.
#[derive(Debug)]
pub struct Chaosd {
    child: Child,
    program: String,
    folder: TempDir,
    settings: String,
}

impl Chaosd {
    /// Starts `chaosd` with a configuration, and returns when it accepts requests.
    ///
    /// # Panics
    /// It does not start.
    #[track_caller]
    #[must_use]
    pub fn start(settings: &str) -> Self {
        Self::start_program("chaosd", settings)
    }

    /// Starts another build of `chaosd`, as [`start`](Self::start) does.
    ///
    /// # Panics
    /// It does not start.
    #[track_caller]
    #[must_use]
    pub fn start_program(program: &str, settings: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be created");
        let (program, settings) = (program.to_owned(), settings.to_owned());
        let child = spawn(&program, &folder, &settings);
        let chaosd = Self { child, program, folder, settings };
        chaosd.wait_for_log("ready on");
        chaosd
    }

    /// Waits until its log contains the text.
    ///
    /// # Panics
    /// The text does not appear in time (two minutes).
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        let path = log(&self.folder);
        wait_for_file(path.to_str().expect("it is UTF-8"), text, |log| log.contains(text));
    }

    /// Returns its log.
    ///
    /// # Panics
    /// The log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(log(&self.folder)).expect("the log can be read")
    }

    /// Waits until the pool of a flavour has been full for the first time.
    ///
    /// # Panics
    /// It does not become full in time (two minutes).
    #[track_caller]
    pub fn wait_until_full(&self, flavour: &str) {
        self.wait_for_log(&format!("flavour {flavour} is full"));
    }

    /// Waits until a refill has brought a flavour back to its low mark.
    ///
    /// # Panics
    /// It does not happen in time (two minutes).
    #[track_caller]
    pub fn wait_until_refilled(&self, flavour: &str) {
        let path = log(&self.folder);
        let path = path.to_str().expect("it is UTF-8");
        let full = format!("flavour {flavour} is full");
        // Count before asking for the pool: a refill that is logged after this is a new one.
        let before = fs::read_to_string(path).expect("the log exists").matches(&full).count();
        if self.pool(flavour, "ready") < self.pool(flavour, "low") {
            wait_for_file(path, &full, |log| log.matches(&full).count() > before);
        }
    }

    /// Kills it with SIGKILL, restarts it, and returns when it accepts requests.
    ///
    /// # Panics
    /// It cannot be killed or restarted.
    #[track_caller]
    pub fn kill_and_restart(&mut self) {
        self.child.kill().expect("chaosd can be killed");
        self.child.wait().expect("chaosd can be waited for");
        self.child = spawn(&self.program, &self.folder, &self.settings);
        self.wait_for_log("ready on");
    }

    /// Terminates it with SIGTERM, restarts it, and returns when it accepts requests.
    ///
    /// # Panics
    /// It fails, or cannot be restarted.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.terminate(), "chaosd has failed");
        self.child = spawn(&self.program, &self.folder, &self.settings);
        self.wait_for_log("ready on");
    }

    /// Kills it with SIGKILL.
    ///
    /// # Panics
    /// It cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().expect("chaosd can be killed");
        self.child.wait().expect("chaosd can be waited for");
    }

    /// Terminates it with SIGTERM, and returns whether it exited successfully.
    ///
    /// # Panics
    /// It cannot be waited for.
    #[must_use]
    pub fn stop(mut self) -> bool {
        self.terminate()
    }

    fn terminate(&mut self) -> bool {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let _ = kill(pid, Signal::SIGTERM);
        self.child.wait().expect("chaosd can be waited for").success()
    }

    /// Returns a number of a flavour from `chaos pool --json`.
    ///
    /// # Panics
    /// There is no such flavour or number.
    #[track_caller]
    #[must_use]
    pub fn pool(&self, flavour: &str, number: &str) -> u64 {
        let pool = chaos(&["pool", "--json"]).json();
        let flavours = pool.as_array().expect("pool prints an array");
        let found = flavours.iter().find(|entry| entry["name"] == flavour);
        found.and_then(|entry| entry[number].as_u64()).expect("the flavour has this number")
    }
}

impl Drop for Chaosd {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
        }
    }
}

/// A `chaosd` that is killed at one of its system calls.
#[derive(Debug)]
pub struct DoomedChaosd {
    doomed: Doomed,
    folder: TempDir,
}

impl DoomedChaosd {
    /// Starts it, to be killed at its `stop`-th stop (see [`Doomed::start`]). Does not wait until
    /// it is ready.
    ///
    /// # Panics
    /// It cannot be started.
    #[track_caller]
    #[must_use]
    pub fn start(settings: &str, stop: usize) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be created");
        let command = command("chaosd", &folder, settings);
        let path = log(&folder);
        // Wakes up a test that waits for something in the log: `chaosd` writes nothing more.
        let dead = move || {
            let log = OpenOptions::new().append(true).open(path);
            log.and_then(|mut log| log.write_all(DEAD.as_bytes())).expect("the log can be written");
        };
        Self { doomed: Doomed::start(command, stop, dead), folder }
    }

    /// Waits until its log contains the text or the process is dead. Returns whether the log
    /// contains the text.
    ///
    /// # Panics
    /// Neither happens in time (two minutes).
    #[track_caller]
    #[must_use]
    pub fn wait_for_log(&self, text: &str) -> bool {
        let path = log(&self.folder);
        let path = path.to_str().expect("it is UTF-8");
        wait_for_file(path, text, |log| log.contains(text) || log.ends_with(DEAD)).contains(text)
    }

    /// Sends it SIGTERM.
    pub fn terminate(&self) {
        // Fails if the process is dead already.
        let _ = kill(self.doomed.pid, Signal::SIGTERM);
    }

    /// Waits until the process is dead, and returns how it died, and its log.
    ///
    /// # Panics
    /// It does not exit in time (two minutes).
    #[track_caller]
    #[must_use]
    pub fn death(self) -> (Death, String) {
        assert!(self.wait_for_log(DEAD), "chaosd has not exited");
        let log = fs::read_to_string(log(&self.folder)).expect("the log can be read");
        (self.doomed.join(), log)
    }
}

fn spawn(program: &str, folder: &TempDir, settings: &str) -> Child {
    command(program, folder, settings).spawn().expect("chaosd can be started")
}

fn command(program: &str, folder: &TempDir, settings: &str) -> Command {
    let config = folder.path().join("chaosd.toml");
    // Shells that no flavour names would be there in some runs only: a test says if it wants them.
    let learn = if settings.contains("learn") { "" } else { "learn = false\n" };
    let settings = [learn, settings].concat();
    fs::write(&config, settings).expect("a temporary file can be written");
    let log = File::create(log(folder)).expect("a temporary file can be created");
    let mut command = Command::new(program);
    command.arg("--config").arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}
