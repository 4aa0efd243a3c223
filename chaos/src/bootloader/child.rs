// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs a program for a limited time, and keeps the end of what it prints.

use std::fmt;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use rustix::fs::{Mode, OFlags as OpenFlags, open, openat};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, getrlimit, pidfd_open, prlimit, setpriority_process,
};

use crate::escape;

/// The shell that runs the program, and is the first process of its PID namespace.
///
/// It waits until the limits are set. When the pipe that is its standard input closes, because the
/// process that started it was killed, it kills the program. Its own end kills all processes that are
/// left in the namespace.
const WRAPPER: &str = "\
read -r go || exit 1
exec 3<&0
\"$@\" 3<&- </dev/null &
program=$!
{ read -r end <&3; kill -9 $program; } 2>/dev/null &
wait $program
exit $?
";

/// The most bytes that are kept of what a program prints.
const KEPT: usize = 4096;

/// The most characters of them in a message.
const SHOWN: usize = 400;

/// What Linux adds to the share of memory that a process takes, when it chooses which one to kill because
/// there is too little: the maximum, so that a bootloader is killed first. It would inherit chaosd's -900.
const OOM_SCORE: &[u8] = b"1000";

/// The nice value of the program: the lowest priority.
const NICE: i32 = 19;

/// What the program may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The size of each file that it writes, in bytes.
    pub(super) file: u64,
    /// The address space of each process, in bytes.
    pub(super) memory: u64,
    /// The CPU time of each process, in seconds.
    pub(super) cpu: u64,
    /// The number of processes of its user, if it has no others.
    pub(super) processes: Option<u64>,
}

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its status; `None` if it was stopped because it took too long.
    pub(super) status: Option<ExitStatus>,
    /// What it printed.
    pub(super) output: ProgramOutput,
}

/// The end of what a program printed. Displayed as the last part of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramOutput(Vec<u8>);

/// Returns the command that runs a program.
pub(super) fn wrapped(program: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", WRAPPER, "sh"]).arg(program).env_clear();
    // As libxl; some programs also need a path.
    command.env("TERM", "vt100").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.current_dir("/");
    command
}

/// Opens dom0's `/proc` for [`run`], which runs where there is none.
///
/// # Errors
/// It is not mounted.
pub(super) fn open_proc() -> io::Result<OwnedFd> {
    let flags = OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::CLOEXEC;
    Ok(open("/proc", flags, Mode::empty())?)
}

/// Runs a command of [`wrapped`]. When this returns, the program has ended. `proc` is that of
/// [`open_proc`].
///
/// # Errors
/// It cannot be started or waited for. It is killed then.
pub(super) fn run(
    mut command: Command,
    proc: BorrowedFd<'_>,
    limits: Option<Limits>,
    timeout: Duration,
) -> io::Result<Ended> {
    let deadline = Instant::now() + timeout;
    let (printed, writer) = io::pipe()?;
    command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
    let mut running = Running(command.spawn()?);
    // It holds the pipe's write end; close it, so that reading ends with the program.
    drop(command);
    let ended = pidfd_open(Pid::from_child(&running.0), PidfdFlags::empty())?;
    yield_to_others(&running.0, proc)?;
    if let Some(limits) = limits {
        limits.set(&running.0)?;
    }
    if let Some(input) = &mut running.0.stdin {
        // It fails if the shell has ended, which is found below.
        let _ = input.write_all(b"go\n");
    }
    let mut output = ProgramOutput::default();
    let in_time = output.read_until(printed, &ended, deadline)?;
    let status = if in_time { Some(running.0.wait()?) } else { None };
    Ok(Ended { status, output })
}

/// A process that is killed when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing happens to one that was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has other processes of dom0 come first, for memory and for CPUs. What the child starts inherits it.
fn yield_to_others(child: &Child, proc: BorrowedFd<'_>) -> io::Result<()> {
    let path = format!("{}/oom_score_adj", child.id());
    let flags = OpenFlags::WRONLY | OpenFlags::CLOEXEC;
    let mut score = std::fs::File::from(openat(proc, path, flags, Mode::empty())?);
    score.write_all(OOM_SCORE)?;
    Ok(setpriority_process(Some(Pid::from_child(child)), NICE)?)
}

impl Limits {
    fn set(self, child: &Child) -> io::Result<()> {
        let Self { file, memory, cpu, processes } = self;
        for (resource, limit) in [
            (Resource::Fsize, file),
            (Resource::As, memory),
            (Resource::Cpu, cpu),
            (Resource::Core, 0),
            (Resource::Memlock, 0),
        ]
        .into_iter()
        .chain(processes.map(|processes| (Resource::Nproc, processes)))
        {
            // A limit that is lower already stays.
            let limit = getrlimit(resource).maximum.map_or(limit, |hard| hard.min(limit));
            let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
            prlimit(Some(Pid::from_child(child)), resource, limit)?;
        }
        Ok(())
    }
}

impl ProgramOutput {
    /// Reads what a process prints until it has ended. Returns whether it did so before the deadline.
    fn read_until(
        &mut self,
        mut printed: PipeReader,
        ended: &OwnedFd,
        deadline: Instant,
    ) -> io::Result<bool> {
        fcntl(&printed, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut is_open = true;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            // Rounded up, so that the wait does not end just before the deadline.
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1));
            let mut files = vec![PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
            if is_open {
                files.push(PollFd::new(printed.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut files, timeout.unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let has_ended = files[0].any() == Some(true);
            // One piece, so that a program that prints without end meets the deadline.
            is_open = is_open && self.read_some(&mut printed, if has_ended { KEPT } else { 1 })?;
            if has_ended {
                return Ok(true);
            }
        }
    }

    /// Reads up to `pieces` pieces of what there is. Returns whether there may be more later.
    fn read_some(&mut self, printed: &mut PipeReader, pieces: usize) -> io::Result<bool> {
        let mut bytes = [0; KEPT];
        for _ in 0..pieces {
            match printed.read(&mut bytes) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.0.extend(&bytes[..count]);
                    let surplus = self.0.len().saturating_sub(KEPT);
                    self.0.drain(..surplus);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// The last lines, as one and without what a terminal would obey.
impl fmt::Display for ProgramOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.0);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let text = lines.collect::<Vec<_>>().join("; ");
        let surplus = text.chars().count().saturating_sub(SHOWN);
        let shown: String = text.chars().skip(surplus).collect();
        match (shown.is_empty(), surplus) {
            (true, _) => Ok(()),
            (false, 0) => write!(f, ": {}", escape::line(&shown)),
            (false, _) => write!(f, ": ...{}", escape::line(&shown)),
        }
    }
}

/// Returns how a program has ended that has failed. The shell reports signals as numbers from 129.
pub(super) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;

    let signal = status.signal().or_else(|| status.code().map(|code| code - 128));
    match (signal.map(Signal::try_from), status.code()) {
        (Some(Ok(signal)), _) => format!("was killed by {}", signal.as_str()),
        (_, Some(126 | 127)) => "cannot be executed".into(),
        (_, Some(code)) => format!("has failed with exit status {code}"),
        (_, None) => "has failed".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn run_script(text: &str, limits: Option<Limits>, timeout: Duration) -> Ended {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let proc = open_proc().unwrap();
        run(wrapped(&path), proc.as_fd(), limits, timeout).unwrap()
    }

    #[test]
    fn the_status_and_the_end_of_the_text_are_kept() {
        let ended = run_script("echo one; echo two >&2; exit 3", None, LONG);
        assert_eq!(describe(ended.status.unwrap()), "has failed with exit status 3");
        assert_eq!(ended.output.to_string(), ": one; two");
        let ended = run_script("exit 0", None, LONG);
        assert!(ended.status.unwrap().success());
        assert_eq!(ended.output.to_string(), "");
        let ended = run_script("kill -9 $$", None, LONG);
        assert_eq!(describe(ended.status.unwrap()), "was killed by SIGKILL");
        let many = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exit 1";
        let ended = run_script(many, None, LONG);
        let text = ended.output.to_string();
        assert!(text.starts_with(": ...") && text.ends_with("line 1998; line 1999"), "{text}");
        assert!(ended.output.0.len() <= KEPT && text.len() < SHOWN + 10);
        let ended = run_script(r"printf '\033]0;title\007\377'; exit 1", None, LONG);
        let text = ended.output.to_string();
        assert!(!text.contains(|c: char| c.is_control()) && text.contains("title"), "{text}");
    }

    #[test]
    fn a_program_that_does_not_end_is_stopped() {
        // One that waits, one that prints without end, and one that has closed its output.
        for text in
            ["exec sleep 1000", "while :; do echo x; done", "exec >&- 2>&-; exec sleep 1000"]
        {
            let began = Instant::now();
            let ended = run_script(text, None, Duration::from_millis(300));
            assert!(ended.status.is_none(), "{text}");
            assert!(began.elapsed() < LONG, "{text}");
        }
    }

    #[test]
    fn the_program_ends_with_the_process_that_started_it() {
        // As if this process was killed: the pipe closes.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, "#!/bin/sh\nexec sleep 1000\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = wrapped(&path);
        let mut running = Running(command.stdin(Stdio::piped()).spawn().unwrap());
        let mut input = running.0.stdin.take().unwrap();
        input.write_all(b"go\n").unwrap();
        drop(input);
        assert_eq!(describe(running.0.wait().unwrap()), "was killed by SIGKILL");
    }

    #[test]
    fn other_processes_of_dom0_come_first() {
        // What the program starts, too.
        let ended = run_script("cat /proc/self/oom_score_adj; (nice)", None, LONG);
        assert_eq!(ended.output.to_string(), ": 1000; 19");
    }

    #[test]
    fn the_limits_are_in_force() {
        let limits = Limits { file: 1 << 20, memory: 1 << 30, cpu: 1, processes: None };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let fill = format!("exec head -c 3000000 /dev/zero > {}", path.display());
        let ended = run_script(&fill, Some(limits), LONG);
        assert!(!ended.status.unwrap().success());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 20);
        let ended = run_script("while :; do :; done", Some(limits), LONG);
        assert_eq!(describe(ended.status.unwrap()), "was killed by SIGKILL");
    }
}
