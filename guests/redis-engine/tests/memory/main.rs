//! The end of memory: whatever fills it, the answer is an error, data can still be read, and what
//! is given back can be used again. An allocation that fails ends this process, as it would end
//! the guest, so a test that comes to its end has not run out of memory unawares.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod edges;
mod filling;
mod limited;
