//! What a host without Xen would use for the same: a process, and containers of the same program.

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

/// What the program in them says.
const WORD: &str = "ready";

/// Samples for each round of [`measure`], if all of them are there.
pub(crate) const SAMPLES: usize = 1 + 2 * 4;

pub(crate) fn measure(rounds: usize, samples: &mut Samples) -> Result<()> {
    for round in 1..=rounds {
        let mut process = Process::listen("exits", &[WORD])?;
        let words_ns = process.until_it_says(WORD)?;
        process.end()?;
        samples.time("a process: until its first words", round, words_ns)?;
    }
    let folder = tempfile::tempdir()?;
    let top = fill(folder.path())?;
    for runtime in ["crun", "runc"] {
        if !there(runtime, samples)? {
            continue;
        }
        specify(runtime, folder.path())?;
        let bundle = folder.path().to_str().context("a temporary folder has a plain name")?;
        // Each has a name of its own, as users' have.
        rows(&format!("{runtime} run"), rounds, samples, |round| {
            Process::listen(runtime, &["run", "--bundle", bundle, &format!("bench-{round}")])
        })?;
    }
    if there("dockerd", samples)? {
        let dockerd = Dockerd::start()?;
        import(&top)?;
        let options = ["run", "--rm", IMAGE, "/exits", WORD];
        rows("docker run", rounds, samples, |_| Process::listen("docker", &options))?;
        let options = ["run", "--rm", "--network", "none", IMAGE, "/exits", WORD];
        let what = "docker run, no network";
        rows(what, rounds, samples, |_| Process::listen("docker", &options))?;
        dockerd.end()?;
    }
    Ok(())
}

/// Whether a program is there; if not, the result says so.
fn there(program: &str, samples: &mut Samples) -> Result<bool> {
    let there = exec::is_there(program);
    if !there {
        samples.fact(&format!("without {program}"), "it is not installed")?;
    }
    Ok(there)
}

fn rows(
    what: &str,
    rounds: usize,
    samples: &mut Samples,
    start: impl Fn(usize) -> Result<Process>,
) -> Result<()> {
    // The first one pays for things that stay.
    for round in 0..=rounds {
        let mut process = start(round)?;
        let words_ns = process.until_it_says(WORD)?;
        let end_ns = process.end()?;
        if round > 0 {
            samples.time(&format!("{what}: until its first words"), round, words_ns)?;
            samples.time(&format!("{what}: until its end"), round, end_ns)?;
        }
    }
    Ok(())
}

/// Makes the containers' root folder, with one static program in it, and gives it.
fn fill(folder: &Path) -> Result<std::path::PathBuf> {
    let top = folder.join("rootfs");
    fs::create_dir(&top)?;
    fs::copy(exec::find("exits")?, top.join("exits"))?;
    fs::set_permissions(&top, fs::Permissions::from_mode(0o755))?;
    Ok(top)
}

/// Writes a runtime's own standard config of a container, for the program.
fn specify(runtime: &str, folder: &Path) -> Result<()> {
    let file = folder.join("config.json");
    let _ = fs::remove_file(&file);
    let made = Command::new(runtime).arg("spec").current_dir(folder).status()?;
    ensure!(made.success(), "{runtime} spec failed");
    let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/exits", WORD]);
    Ok(fs::write(&file, serde_json::to_vec(&config)?)?)
}

const IMAGE: &str = "exits";
const LOG: &str = "/tmp/dockerd.log";

/// The Docker daemon, with its containerd.
struct Dockerd(Child);

impl Dockerd {
    /// Starts it and waits until it says that it is ready, as systemd would (sd_notify(3)).
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
                .with_context(|| format!("dockerd is not ready; it says {}", last_words()))?;
            if String::from_utf8_lossy(&message[..length]).contains("READY=1") {
                return Ok(daemon);
            }
        }
    }

    fn end(mut self) -> Result<()> {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM)?;
        let status = self.0.wait()?;
        ensure!(status.success(), "dockerd failed; it says {}", last_words());
        Ok(())
    }
}

/// The end of dockerd's log.
fn last_words() -> String {
    let log = fs::read_to_string(LOG).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(3)..].join("\n")
}

fn import(top: &Path) -> Result<()> {
    let archive = "/tmp/exits.tar";
    let top = top.to_str().context("a temporary folder has a plain name")?;
    run("tar", &["-C", top, "-cf", archive, "."])?;
    Process::listen("docker", &["import", archive, IMAGE])?.end().map(drop)
}

/// Makes this process's root one that containers can leave: Linux has no `pivot_root` from the
/// root that the kernel itself made of its initramfs (pivot_root(2)), as the test bed's is. The
/// same folders mounted once more have none of that, and cost nobody anything.
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
