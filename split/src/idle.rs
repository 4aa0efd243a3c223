// SPDX-License-Identifier: GPL-3.0-or-later
//! Threads that run when no other thread wants the CPU.
//!
//! `unsafe`: no crate offers the system call.
#![allow(unsafe_code)]

use std::io;

/// Lowers the calling thread to the lowest priority (`SCHED_IDLE`, sched(7)).
///
/// # Errors
/// The kernel refuses.
pub fn become_idle() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads a `sched_param` through the pointer; `parameter` is one and lives
    // until the call returns. Thread 0 is the calling one.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_become_idle() {
        std::thread::spawn(|| {
            become_idle().unwrap();
            // SAFETY: the call takes no pointer; thread 0 is the calling one.
            assert_eq!(unsafe { libc::sched_getscheduler(0) }, libc::SCHED_IDLE);
        })
        .join()
        .unwrap();
    }
}
