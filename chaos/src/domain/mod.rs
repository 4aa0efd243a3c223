//! Builds PVH domains (`docs/architecture.md`).
//!
//! [`prepare()`] returns a [`Shell`]: a domain with memory, rings, grants and event channels, but
//! without an image. [`Shell::execute`] copies the image into it and returns a [`Ready`] domain,
//! which [`Ready::unpause`] starts. Until then, dropping the value destroys the domain, so a
//! failure at any step leaves nothing behind.

mod acpi;
mod boot_page;
mod discovery;
mod error;
mod execute;
mod flavour;
mod layout;
mod memory;
mod page;
mod prepare;
mod shell;
mod vcpus;
mod window;

pub use discovery::{RingPage, XenStoreRings};
pub use error::BuildError;
pub use execute::{DevicePageVif, Mapped, Payload, Ready};
pub use flavour::Flavour;
pub use layout::{Layout, NoxsPages};
pub use prepare::prepare;
pub use shell::{ParkedShell, Ports, Shell};
