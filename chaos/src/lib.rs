// SPDX-License-Identifier: GPL-3.0-or-later
//! `chaos`: a Xen toolstack for many small, short-lived guests.
//!
//! A guest is created in two halves (`docs/architecture.md`): [`domain::prepare`] does what does
//! not depend on the request and returns a [`domain::Shell`]; [`domain::Shell::execute`] copies an
//! image into it. [`guests`] combines both with the [`records`] that dom0 keeps. [`request`]
//! creates guests through chaosd or in this process, for the command and other programs.

pub mod announce;
pub mod backends;
pub mod bootloader;
mod child;
pub mod clients;
pub mod config;
mod convert;
pub mod cpu_list;
pub mod cpupools;
pub mod domain;
pub mod dump;
pub mod escape;
pub mod failure;
mod found;
pub mod guests;
pub mod handle;
pub mod hypervisor;
pub mod image;
pub mod local_time;
pub mod random;
pub mod records;
pub mod request;
pub mod timings;
