//! How a guest learns of its devices, other than from the device page.

pub mod xenstore;
