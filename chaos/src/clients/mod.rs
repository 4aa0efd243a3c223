// SPDX-License-Identifier: GPL-3.0-or-later
//! Clients of the daemons that chaos uses, one module each.

pub mod chaosd;
pub mod noxsd;
mod visible;
pub mod xenstored;
