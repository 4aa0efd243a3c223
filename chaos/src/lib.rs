//! `chaos`: a Xen toolstack for many small, short-lived guests.
//!
//! A guest is created in two halves (`docs/architecture.md`): [`domain::prepare`] does everything
//! that does not depend on the request and returns a [`domain::Shell`], [`domain::Shell::execute`]
//! puts an image into it. [`guests`] puts both together with the [`records`] that dom0 keeps,
//! and is what the command line and the daemon call.

pub mod announce;
pub mod backends;
pub mod clients;
pub mod config;
mod convert;
pub mod domain;
pub mod failure;
pub mod guests;
pub mod handle;
pub mod hypervisor;
pub mod image;
pub mod random;
pub mod records;
pub mod request;
pub mod timings;
