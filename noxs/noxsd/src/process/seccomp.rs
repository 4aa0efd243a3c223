// SPDX-License-Identifier: GPL-3.0-or-later
//! Allows the system calls that the event loop needs. Any other kills the process.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use xen::linux::evtchn::{
    IOCTL_EVTCHN_BIND_INTERDOMAIN, IOCTL_EVTCHN_BIND_VIRQ, IOCTL_EVTCHN_NOTIFY, IOCTL_EVTCHN_RESET,
    IOCTL_EVTCHN_UNBIND,
};
use xen::linux::gntdev::{
    IOCTL_GNTDEV_GRANT_COPY, IOCTL_GNTDEV_MAP_GRANT_REF, IOCTL_GNTDEV_UNMAP_GRANT_REF,
};

/// Calls that are allowed with any arguments, by purpose.
const ALLOWED: &[libc::c_long] = &[
    // Waiting.
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_clock_gettime,
    // Clients.
    libc::SYS_accept4,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_getsockopt,
    libc::SYS_close,
    // Event channels, taps, logs, standard error.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_ftruncate,
    libc::SYS_fcntl,
    // Disks: through a ring whose operations are limited (`host::file_io::ring`), or in threads.
    // Discards are in `filter`.
    libc::SYS_io_uring_enter,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwritev,
    libc::SYS_fdatasync,
    // Memory; for mappings see `filter`.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_getrandom,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    // glibc's allocator, when many threads allocate.
    libc::SYS_sched_getaffinity,
    // Exiting with a message.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_restart_syscall,
];

/// The ioctls that are allowed.
const IOCTLS: &[u64] = &[
    IOCTL_EVTCHN_BIND_INTERDOMAIN,
    IOCTL_EVTCHN_BIND_VIRQ,
    IOCTL_EVTCHN_UNBIND,
    IOCTL_EVTCHN_NOTIFY,
    IOCTL_EVTCHN_RESET,
    IOCTL_GNTDEV_MAP_GRANT_REF,
    IOCTL_GNTDEV_UNMAP_GRANT_REF,
    IOCTL_GNTDEV_GRANT_COPY,
    libc::TUNGETIFF,
    tap::TUNGETVNETHDRSZ,
];

/// Why the filter of system calls cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The filter cannot be built.
    #[error("cannot build the system call filter")]
    Build(#[from] seccompiler::BackendError),
    /// The filter cannot be installed.
    #[error("cannot install the system call filter")]
    Install(#[from] seccompiler::Error),
}

/// Returns the filter, ready to be installed.
///
/// # Errors
/// The filter cannot be built.
pub fn filter() -> Result<BpfProgram, SeccompError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let mut ioctls = Vec::with_capacity(IOCTLS.len());
    for number in IOCTLS {
        let is = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *number)?;
        ioctls.push(SeccompRule::new(vec![is])?);
    }
    rules.insert(libc::SYS_ioctl, ioctls);
    // Mappings, unless they are executable.
    let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
    let not_executable = SeccompCmpOp::MaskedEq(executable);
    let not_executable = SeccompCondition::new(2, SeccompCmpArgLen::Dword, not_executable, 0)?;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![SeccompRule::new(vec![not_executable.clone()])?]);
    }
    // Discards in files, which does not change their size.
    let punch_hole =
        u64::from((libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE).unsigned_abs());
    let punches = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, punch_hole)?;
    rules.insert(libc::SYS_fallocate, vec![SeccompRule::new(vec![punches])?]);
    // Reads a limit: there is no new one.
    let reads = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![reads])?]);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )?;
    Ok(filter.try_into()?)
}

/// Installs the filter permanently, for all threads.
///
/// # Errors
/// The kernel refuses it.
pub fn install(filter: &BpfProgram) -> Result<(), SeccompError> {
    Ok(seccompiler::apply_filter_all_threads(filter)?)
}

#[cfg(test)]
mod tests {
    #![allow(unsafe_code)]

    use nix::sys::signal::Signal;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::*;

    /// Makes a system call in a child process under the filter. Returns the signal that killed the
    /// child, if any.
    fn under_filter(call: [libc::c_long; 4]) -> Option<Signal> {
        let filter = filter().unwrap();
        // SAFETY: this process has other threads, so the child may only call async-signal-safe
        // functions. It only makes system calls (to install the filter, the call under test, and to
        // exit) and does not allocate.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let [number, first, second, third] = call;
                if install(&filter).is_ok() {
                    // SAFETY: the calls of these tests pass no pointers except null.
                    unsafe { libc::syscall(number, first, second, third, -1, 0) };
                    // SAFETY: `_exit` has no preconditions. It runs no exit handlers of the parent.
                    unsafe { libc::_exit(0) };
                }
                // SAFETY: `_exit` has no preconditions. It runs no exit handlers of the parent.
                unsafe { libc::_exit(1) }
            }
            ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
                WaitStatus::Exited(_, 0) => None,
                WaitStatus::Signaled(_, signal, _) => Some(signal),
                other => panic!("{other:?}"),
            },
        }
    }

    #[test]
    fn calls_that_the_loop_needs_are_allowed() {
        let map = libc::PROT_READ | libc::PROT_WRITE;
        for call in [
            [libc::SYS_getpid, 0, 0, 0],
            [libc::SYS_read, -1, 0, 0],
            [libc::SYS_mmap, 0, 4096, map.into()],
            [libc::SYS_ioctl, -1, IOCTL_GNTDEV_GRANT_COPY.cast_signed(), 0],
            [libc::SYS_io_uring_enter, -1, 0, 0],
            [libc::SYS_fallocate, -1, 3, 0],
            [libc::SYS_prlimit64, 0, libc::RLIMIT_FSIZE.into(), 0],
        ] {
            assert_eq!(under_filter(call), None, "{call:?}");
        }
    }

    #[test]
    fn other_calls_kill_the_process() {
        let execute = libc::PROT_READ | libc::PROT_EXEC;
        for call in [
            [libc::SYS_openat, 0, 0, 0],
            [libc::SYS_execve, 0, 0, 0],
            [libc::SYS_socket, 1, 1, 0],
            [libc::SYS_connect, 0, 0, 0],
            // These take paths.
            [libc::SYS_newfstatat, 0, 0, 0],
            [libc::SYS_statx, 0, 0, 0],
            [libc::SYS_kill, 1, 0, 0],
            [libc::SYS_ptrace, 0, 0, 0],
            [libc::SYS_clone, 0, 0, 0],
            [libc::SYS_setuid, 0, 0, 0],
            [libc::SYS_mmap, 0, 4096, execute.into()],
            [libc::SYS_mprotect, 0, 0, execute.into()],
            // IOCTL_PRIVCMD_HYPERCALL, on any file.
            [libc::SYS_ioctl, -1, 0x30_5000, 0],
            [libc::SYS_ioctl, -1, libc::TUNSETIFF.cast_signed(), 0],
            [libc::SYS_io_uring_setup, 1, 0, 0],
            [libc::SYS_io_uring_register, -1, 0, 0],
            [libc::SYS_fallocate, -1, 0, 0],
            [libc::SYS_prlimit64, 0, libc::RLIMIT_FSIZE.into(), 4096],
        ] {
            assert_eq!(under_filter(call), Some(Signal::SIGSYS), "{call:?}");
        }
    }
}
