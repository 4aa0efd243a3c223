//! The daemons that `chaos` talks to, one client each.

pub mod chaosd;
pub mod noxsd;
pub mod xenstored;
