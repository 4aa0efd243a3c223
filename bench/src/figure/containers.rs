// SPDX-License-Identifier: GPL-3.0-or-later
//! Times what a host without Xen would use instead: a process, and containers that run the same
//! program.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use chaos_bench::exec::{self, Process, run};
use chaos_bench::words::PATIENCE;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, chdir, chroot};
use serde_json::{Value, json};

use crate::samples::Samples;

/// What the program prints.
const WORD: &str = "ready";

/// The number of samples per round of [`measure`], if all runtimes are installed.
pub(crate) const SAMPLES: usize = 1 + 2 * 4;

pub(crate) fn measure(rounds: usize, samples: &mut Samples) -> Result<()> {
    for round in 1..=rounds {
        let mut process = Process::listen("exits", &[WORD])?;
        let words_ns = process.wait_for_output(WORD)?;
        process.wait()?;
        samples.time("a process: until its first words", round, words_ns)?;
    }
    let folder = tempfile::tempdir()?;
    let top = fill(folder.path())?;
    for runtime in ["crun", "runc"] {
        if !installed(runtime, samples)? {
            continue;
        }
        specify(runtime, folder.path())?;
        let bundle = folder.path().to_str().context("the temporary folder's path is not UTF-8")?;
        // Each container has a name of its own, as users' containers do.
        rows(&format!("{runtime} run"), rounds, samples, |round| {
            Process::listen(runtime, &["run", "--bundle", bundle, &format!("bench-{round}")])
        })?;
    }
    if installed("dockerd", samples)? {
        let dockerd = Dockerd::start()?;
        import(&top)?;
        let options = ["run", "--rm", IMAGE, "/exits", WORD];
        rows("docker run", rounds, samples, |_| Process::listen("docker", &options))?;
        let options = ["run", "--rm", "--network", "none", IMAGE, "/exits", WORD];
        let what = "docker run, no network";
        rows(what, rounds, samples, |_| Process::listen("docker", &options))?;
        dockerd.stop()?;
    }
    Ok(())
}

/// Returns whether a program is installed; if it is not, records that in the result.
fn installed(program: &str, samples: &mut Samples) -> Result<bool> {
    let installed = exec::is_installed(program);
    if !installed {
        samples.fact(&format!("without {program}"), "it is not installed")?;
    }
    Ok(installed)
}

fn rows(
    what: &str,
    rounds: usize,
    samples: &mut Samples,
    start: impl Fn(usize) -> Result<Process>,
) -> Result<()> {
    // The first container also pays for one-time set-up.
    for round in 0..=rounds {
        let mut process = start(round)?;
        let words_ns = process.wait_for_output(WORD)?;
        let end_ns = process.wait()?;
        if round > 0 {
            samples.time(&format!("{what}: until its first words"), round, words_ns)?;
            samples.time(&format!("{what}: until its end"), round, end_ns)?;
        }
    }
    Ok(())
}

/// Creates the containers' root folder with one static program in it, and returns its path.
fn fill(folder: &Path) -> Result<std::path::PathBuf> {
    let top = folder.join("rootfs");
    fs::create_dir(&top)?;
    fs::copy(exec::find("exits")?, top.join("exits"))?;
    fs::set_permissions(&top, fs::Permissions::from_mode(0o755))?;
    Ok(top)
}

/// Writes the runtime's default container config, changed to run the program.
fn specify(runtime: &str, folder: &Path) -> Result<()> {
    let file = folder.join("config.json");
    let _ = fs::remove_file(&file);
    let status = Command::new(runtime).arg("spec").current_dir(folder).status()?;
    ensure!(status.success(), "{runtime} spec failed: {status}");
    let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/exits", WORD]);
    Ok(fs::write(&file, serde_json::to_vec(&config)?)?)
}

const IMAGE: &str = "exits";
const LOG: &str = "/tmp/dockerd.log";

/// The Docker daemon, which starts its own containerd.
struct Dockerd(Child);

impl Dockerd {
    /// Starts it and waits until it reports that it is ready, as systemd would (sd_notify(3)).
    fn start() -> Result<Self> {
        let socket = "/tmp/dockerd-notify";
        let _ = fs::remove_file(socket);
        let notified = UnixDatagram::bind(socket)?;
        notified.set_read_timeout(Some(PATIENCE))?;
        let log = File::create(LOG)?;
        let child = Command::new("dockerd")
            .env("NOTIFY_SOCKET", socket)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let daemon = Self(child);
        let mut message = [0; 256];
        loop {
            let length = notified
                .recv(&mut message)
                .with_context(|| format!("dockerd is not ready; its log ends: {}", log_tail()))?;
            if String::from_utf8_lossy(&message[..length]).contains("READY=1") {
                return Ok(daemon);
            }
        }
    }

    fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM)?;
        let status = self.0.wait()?;
        ensure!(status.success(), "dockerd failed: {status}; its log ends: {}", log_tail());
        Ok(())
    }
}

/// Returns the last three lines of dockerd's log.
fn log_tail() -> String {
    let log = fs::read_to_string(LOG).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(3)..].join("\n")
}

fn import(top: &Path) -> Result<()> {
    let archive = "/tmp/exits.tar";
    let top = top.to_str().context("the temporary folder's path is not UTF-8")?;
    run("tar", &["-C", top, "-cf", archive, "."])?;
    Process::listen("docker", &["import", archive, IMAGE])?.wait().map(drop)
}

/// Gives this process a root that container runtimes can `pivot_root` away from. Linux does not
/// allow that for the initramfs (pivot_root(2)), which is the root in the test bed, but it does for
/// a bind mount of the same tree. A bind mount costs nothing in the measurements.
pub(crate) fn leave_initramfs() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    if !mounts.lines().any(|line| line.starts_with("rootfs / ")) {
        return Ok(());
    }
    let folder = std::env::current_dir()?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    let top = tempfile::tempdir()?.keep();
    mount(Some("/"), &top, None::<&str>, flags, None::<&str>)?;
    chroot(&top)?;
    Ok(chdir(&folder)?)
}
