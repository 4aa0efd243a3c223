//! Consoles.

pub mod log;
pub mod ring;
