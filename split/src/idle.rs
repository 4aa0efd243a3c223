//! A thread that only runs when nobody else wants the CPU.
//!
//! `unsafe`: no crate offers the system call.
#![allow(unsafe_code)]

use std::io;

/// Puts the calling thread behind all others (`SCHED_IDLE`, sched(7)).
///
/// # Errors
/// The kernel refuses.
pub fn become_idle() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the structure is what the call reads, and lives until it returns; 0 is the calling
    // thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_step_back() {
        std::thread::spawn(|| {
            become_idle().unwrap();
            // SAFETY: the call has no arguments that could be wrong.
            assert_eq!(unsafe { libc::sched_getscheduler(0) }, libc::SCHED_IDLE);
        })
        .join()
        .unwrap();
    }
}
