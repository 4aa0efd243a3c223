// SPDX-License-Identifier: MIT OR Apache-2.0
//! What netbench does without its network interface: arguments, and the content of frames.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod count;
pub mod frame;
pub mod options;
