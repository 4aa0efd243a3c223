//! `chaos`: a Xen toolstack for many small, short-lived guests.
//!
//! A guest is made in two halves (`docs/architecture.md`): [`builder::prepare`] does everything
//! that does not depend on the request and gives a [`builder::Shell`], [`builder::Shell::execute`]
//! puts an image into it. [`lifecycle`] puts both together with the [`record`]s that dom0 keeps,
//! and is what the command line and the daemon call.

pub mod backend;
pub mod builder;
pub mod chain;
pub mod config;
pub mod daemon;
pub mod handle;
pub mod image;
pub mod lifecycle;
pub mod random;
pub mod record;
pub mod store;
pub mod timings;
