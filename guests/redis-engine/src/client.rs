//! What commands know of their connection.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

/// One connection, as commands see it.
#[derive(Debug)]
pub(crate) struct Client {
    /// What `CLIENT LIST` reports.
    pub(crate) info: Rc<RefCell<ClientInfo>>,
    /// Whether to close the connection when the output has been sent.
    pub(crate) close: bool,
}

/// What `CLIENT LIST` reports of a connection.
#[derive(Debug, Default)]
pub(crate) struct ClientInfo {
    pub(crate) id: u64,
    pub(crate) name: Vec<u8>,
    pub(crate) library: Vec<u8>,
    pub(crate) library_version: Vec<u8>,
    pub(crate) resp3: bool,
}
