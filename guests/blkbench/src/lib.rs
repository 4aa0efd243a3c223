// SPDX-License-Identifier: MIT OR Apache-2.0
//! What blkbench does without its disk: arguments, and the content of blocks.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod block;
pub mod options;
