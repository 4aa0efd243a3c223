// SPDX-License-Identifier: GPL-3.0-or-later
//! Serves toolstacks and clients of consoles, and finds the domains that an earlier noxsd served.
//!
//! [`server`] holds the connections of clients, [`session`] executes requests, and [`records`]
//! reads which domains were attached before this process started.

mod client;
pub mod records;
pub mod server;
pub mod session;
#[cfg(test)]
mod tests;
