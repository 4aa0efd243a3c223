// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rings between the two ends of a device: `public/io/*.h`.

pub mod blkif;
pub mod console;
pub mod netif;
pub mod ninepfs;
pub mod ring;
pub mod xs_wire;
