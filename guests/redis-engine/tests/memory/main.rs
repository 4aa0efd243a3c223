// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fills the engine's memory. Whatever fills it, the engine must reply with an error, data must
//! still be readable, and freed memory must be usable again. An allocation that fails aborts this
//! process, as it would abort the guest, so a test that finishes has not run out of memory
//! unnoticed.

#![allow(clippy::unwrap_used)] // in the tests' helpers too

mod edges;
mod filling;
mod limited;
mod requests;
