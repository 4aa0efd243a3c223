//! The process: its start as root, what it gives up, and its loop.
//!
//! [`start`] brings everything up in the one order that works, [`privileges`] and [`seccomp`] give
//! up what is not needed afterwards, and [`event_loop`] serves.

pub mod event_loop;
pub mod privileges;
pub mod seccomp;
pub mod start;
mod taps;
