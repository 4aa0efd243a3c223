// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs a program for a limited time, and keeps the end of what it prints.

use std::fmt;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use daemon::wait::{any_readable, readable};
use nix::sys::signal::Signal;
use rustix::fs::{Mode, OFlags as OpenFlags, open, openat};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setpriority_process};

use crate::child::{GroupLeader, Tail, pipe};
use crate::escape;

/// The shell that runs the program, and is the first process of its PID namespace, so that no process in
/// the namespace can kill it.
///
/// It waits until the limits are set. Another shell reports the exit status of the program. When the
/// pipe that is the standard input closes, because the program has ended or the process that started it
/// was killed, the shell ends, and with it all processes in the namespace. `kill` ends them where there is
/// no namespace.
const WRAPPER: &str = "\
read -r go || exit 1
exec 3>&2 2>&1
{ \"$@\" 3>&-; echo $? >&3; } </dev/null &
exec 3>&-
read -r end
kill -9 0
exit 137
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It exited, or a signal ended it.
    Exited(ExitStatus),
    /// It was stopped, because it took too long.
    TimedOut,
    /// It was stopped, because it was no longer wanted.
    Unwanted,
}

/// The end of what a program printed. Displayed as the last part of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramOutput(Tail<KEPT>);

/// Returns the command that runs a program.
pub(super) fn wrapped(program: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", WRAPPER, "sh"]).arg(program).env_clear();
    // As libxl; some programs also need a path.
    command.env("TERM", "vt100").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.current_dir("/").process_group(0);
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
/// [`open_proc`]. `stop` is a pipe; the program is stopped when its write end closes.
///
/// # Errors
/// It cannot be started or waited for. It is killed then.
pub(super) fn run(
    mut command: Command,
    proc: BorrowedFd<'_>,
    limits: Option<Limits>,
    timeout: Duration,
    stop: Option<BorrowedFd<'_>>,
) -> io::Result<(End, ProgramOutput)> {
    let deadline = Instant::now() + timeout;
    let (printed, writer) = pipe()?;
    command.stdin(Stdio::piped()).stdout(writer).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let pid = Pid::from_child(&child);
    let mut running = GroupLeader::new(pid);
    // It holds the pipe's write end; close it, so that reading ends with the program.
    drop(command);
    yield_to_others(pid, proc)?;
    if let Some(limits) = limits {
        limits.set(pid)?;
    }
    if let Some(input) = &mut child.stdin {
        // It fails if the shell has ended, which is found below.
        let _ = input.write_all(b"go\n");
    }
    let mut output = ProgramOutput::default();
    let end = watch(&mut running, child, &mut output, printed, deadline, stop)?;
    Ok((end, output))
}

/// Has other processes of dom0 come first, for memory and for CPUs. What the child starts inherits it.
fn yield_to_others(pid: Pid, proc: BorrowedFd<'_>) -> io::Result<()> {
    let path = format!("{}/oom_score_adj", pid.as_raw_nonzero());
    let flags = OpenFlags::WRONLY | OpenFlags::CLOEXEC;
    let mut score = std::fs::File::from(openat(proc, path, flags, Mode::empty())?);
    score.write_all(OOM_SCORE)?;
    Ok(setpriority_process(Some(pid), NICE)?)
}

impl Limits {
    fn set(self, pid: Pid) -> io::Result<()> {
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
            prlimit(Some(pid), resource, limit)?;
        }
        Ok(())
    }
}

/// Reads what the program prints until it has ended, with all that it has started, or is to be stopped.
fn watch(
    running: &mut GroupLeader,
    mut child: Child,
    output: &mut ProgramOutput,
    printed: PipeReader,
    deadline: Instant,
    stop: Option<BorrowedFd<'_>>,
) -> io::Result<End> {
    let ended = running.end()?;
    let (mut printed, mut reporter) = (Some(printed), child.stderr.take());
    let mut status = None;
    loop {
        let of_program = [reporter.as_ref().map(AsFd::as_fd), printed.as_ref().map(AsFd::as_fd)];
        let files: Vec<_> =
            of_program.into_iter().chain([stop, Some(ended.as_fd())]).flatten().collect();
        if Instant::now() >= deadline || !any_readable(&files, deadline)? {
            return Ok(End::TimedOut);
        }
        let is_ready = |file: BorrowedFd<'_>| readable(file, Instant::now());
        // Before the read, which then gets all that the program has printed.
        let has_ended = is_ready(ended.as_fd())?;
        if let Some(stop) = stop
            && is_ready(stop)?
        {
            return Ok(End::Unwanted);
        }
        // One piece, so that a program that prints without end meets the deadline.
        let pieces = if has_ended { KEPT } else { 1 };
        if let Some(open) = &mut printed
            && !output.0.read(open, pieces)?
        {
            printed = None;
        }
        if let Some(open) = &reporter
            && is_ready(open.as_fd())?
            && let Some(reporter) = reporter.take()
        {
            status = read_status(reporter)?;
            // The first shell ends.
            drop(child.stdin.take());
        }
        if has_ended {
            let of_shell = running.wait()?;
            return Ok(End::Exited(status.unwrap_or(of_shell)));
        }
    }
}

/// Reads the exit status of the program. There is none if the shell that reports it was killed.
fn read_status(mut reporter: ChildStderr) -> io::Result<Option<ExitStatus>> {
    // The longest is "255", and a newline.
    let mut bytes = [0; 8];
    let count = reporter.read(&mut bytes)?;
    let code: Option<u8> = str::from_utf8(&bytes[..count]).ok().and_then(|s| s.trim().parse().ok());
    Ok(code.map(|code| ExitStatus::from_raw(i32::from(code) << 8)))
}

/// The last lines, as one and without what a terminal would obey.
impl fmt::Display for ProgramOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.lines().join("; ");
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

    fn run_script(text: &str, limits: Option<Limits>, timeout: Duration) -> (End, ProgramOutput) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let proc = open_proc().unwrap();
        run(wrapped(&path), proc.as_fd(), limits, timeout, None).unwrap()
    }

    fn status(end: End) -> ExitStatus {
        match end {
            End::Exited(status) => status,
            end => panic!("{end:?}"),
        }
    }

    #[test]
    fn the_status_and_the_end_of_the_text_are_kept() {
        let (end, output) = run_script("echo one; echo two >&2; exit 3", None, LONG);
        assert_eq!(describe(status(end)), "has failed with exit status 3");
        assert_eq!(output.to_string(), ": one; two");
        let (end, output) = run_script("exit 0", None, LONG);
        assert!(status(end).success());
        assert_eq!(output.to_string(), "");
        let (end, _) = run_script("kill -9 $$", None, LONG);
        assert_eq!(describe(status(end)), "was killed by SIGKILL");
        let many = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exit 1";
        let (_, output) = run_script(many, None, LONG);
        let text = output.to_string();
        assert!(text.starts_with(": ...") && text.ends_with("line 1998; line 1999"), "{text}");
        assert!(output.0.len() <= KEPT && text.len() < SHOWN + 10);
        let (_, output) = run_script(r"printf '\033]0;title\007\377'; exit 1", None, LONG);
        let text = output.to_string();
        assert!(!text.contains(|c: char| c.is_control()) && text.contains("title"), "{text}");
    }

    #[test]
    fn a_program_that_does_not_end_is_stopped() {
        // One that waits, one that prints without end, and one that has closed its output.
        for text in
            ["exec sleep 1000", "while :; do echo x; done", "exec >&- 2>&-; exec sleep 1000"]
        {
            let began = Instant::now();
            let (end, _) = run_script(text, None, Duration::from_millis(300));
            assert_eq!(end, End::TimedOut, "{text}");
            assert!(began.elapsed() < LONG, "{text}");
        }
    }

    /// A program that opens a FIFO, kills the processes that have started it, and waits.
    struct Killer {
        folder: tempfile::TempDir,
    }

    impl Killer {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let fifo = folder.path().join("fifo");
            nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
            let text = format!(
                "#!/bin/sh\nexec 5>{}\n\
                 for one in $(cat /proc/$PPID/task/$PPID/children); do\n\
                 [ $one = $$ ] || kill -9 $one\ndone\nkill -9 $PPID\nexec sleep 1000\n",
                fifo.display()
            );
            let path = folder.path().join("program");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            Self { folder }
        }

        fn command(&self) -> Command {
            wrapped(&self.folder.path().join("program"))
        }

        /// Waits until it runs. What is returned is at its end when no process of it is left.
        fn opened(&self) -> std::fs::File {
            std::fs::File::open(self.folder.path().join("fifo")).unwrap()
        }
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "`running` waits for it")]
    fn the_program_ends_with_the_process_that_started_it() {
        // As if this process was killed: the pipe closes.
        let killer = Killer::new();
        let mut command = killer.command();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut running = GroupLeader::new(Pid::from_child(&child));
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"go\n").unwrap();
        let mut opened = killer.opened();
        drop(input);
        assert_eq!(describe(running.wait().unwrap()), "was killed by SIGKILL");
        assert_eq!(opened.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_program_that_kills_what_has_started_it_ends_too() {
        let killer = Killer::new();
        let command = killer.command();
        let runner = std::thread::spawn(|| {
            let proc = open_proc().unwrap();
            run(command, proc.as_fd(), None, LONG, None).unwrap()
        });
        let mut opened = killer.opened();
        let (end, _) = runner.join().unwrap();
        assert_eq!(describe(status(end)), "was killed by SIGKILL");
        assert_eq!(opened.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_program_that_is_no_longer_wanted_is_stopped() {
        let killer = Killer::new();
        let path = killer.folder.path().join("program");
        let fifo = killer.folder.path().join("fifo");
        let text = format!("#!/bin/sh\nexec 5>{}\nexec sleep 1000\n", fifo.display());
        std::fs::write(&path, text).unwrap();
        let command = killer.command();
        let (stop, wanted) = io::pipe().unwrap();
        let runner = std::thread::spawn(move || {
            let proc = open_proc().unwrap();
            run(command, proc.as_fd(), None, LONG, Some(stop.as_fd())).unwrap()
        });
        let mut opened = killer.opened();
        drop(wanted);
        let (end, _) = runner.join().unwrap();
        assert_eq!(end, End::Unwanted);
        assert_eq!(opened.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn other_processes_of_dom0_come_first() {
        // What the program starts, too.
        let (_, output) = run_script("cat /proc/self/oom_score_adj; (nice)", None, LONG);
        assert_eq!(output.to_string(), ": 1000; 19");
    }

    #[test]
    fn the_limits_are_in_force() {
        let limits = Limits { file: 1 << 20, memory: 1 << 30, cpu: 1, processes: None };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let fill = format!("exec head -c 3000000 /dev/zero > {}", path.display());
        let (end, _) = run_script(&fill, Some(limits), LONG);
        assert!(!status(end).success());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 20);
        let (end, _) = run_script("while :; do :; done", Some(limits), LONG);
        assert_eq!(describe(status(end)), "was killed by SIGKILL");
    }
}
