// SPDX-License-Identifier: GPL-3.0-or-later
//! Kernel images for PVH direct boot.
//!
//! A kernel is an ELF file whose `Xen` note of type 18 (`XEN_ELFNOTE_PHYS32_ENTRY` in Xen's
//! `elfnote.h`) is the address at which it is entered in 32-bit mode without paging. The file may
//! be packed with gzip, or be the payload of a Linux bzImage, packed with gzip, xz, zstd, lz4 or
//! lzma. A kernel is checked when its [`Image`] is created, so that loading it into a guest only
//! copies bytes.

mod bzimage;
mod cache;
mod effort;
mod elf;
mod error;
mod file;
mod kernel;
mod limit;
mod module;
mod notes;
mod parts;
mod positioned;
mod refused;
pub(crate) mod room;
mod segment;
pub mod shim;
mod storage;
mod unpack;
pub(crate) mod xen_version;

pub use cache::ImageCache;
pub use error::{BzImageProblem, ImageError, MAX_SIZE, Part};
pub use file::{ImageKey, open};
pub use kernel::Image;
pub use limit::SizeLimit;
pub use module::ModuleFile;
pub use notes::Expectations;
pub use refused::RefusedKernel;
pub use segment::{Content, Segment};
pub use storage::open_for_another_process;

#[cfg(test)]
pub(crate) mod tests;
