// SPDX-License-Identifier: MIT OR Apache-2.0
//! A connection, as commands see it.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

/// The state of one connection that commands read and change.
#[derive(Debug)]
pub(crate) struct Client {
    /// Shared with the list of connections.
    pub(crate) info: Rc<RefCell<ClientInfo>>,
    /// Whether to close the connection when the output has been sent.
    pub(crate) close: bool,
    /// Whether the peer sends HTTP requests.
    pub(crate) http: bool,
}

/// The facts about a connection that `CLIENT LIST` reports.
#[derive(Debug, Default)]
pub(crate) struct ClientInfo {
    pub(crate) id: u64,
    pub(crate) name: Vec<u8>,
    pub(crate) library: Vec<u8>,
    pub(crate) library_version: Vec<u8>,
    pub(crate) resp3: bool,
}
