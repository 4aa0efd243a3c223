//! A thread that only runs when no other wants the CPU.
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
    // SAFETY: the pointer is to a `sched_param` that lives until the call returns, and the call only
    // reads it. 0 stands for the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_step_back() {
        std::thread::spawn(|| {
            become_idle().unwrap();
            // SAFETY: the call takes no pointer; 0 stands for the calling thread.
            assert_eq!(unsafe { libc::sched_getscheduler(0) }, libc::SCHED_IDLE);
        })
        .join()
        .unwrap();
    }
}
