//! What toolstacks ask of `noxsd`, and what an earlier `noxsd` has served.
//!
//! [`server`] has the clients and their connections, [`session`] does what a request asks for, and
//! [`records`] finds the domains that were attached before this process started.

mod client;
pub mod records;
pub mod server;
pub mod session;
#[cfg(test)]
mod tests;
