//! Building a PVH domain: the one way there is (`docs/architecture.md`).
//!
//! [`prepare()`] makes a [`Shell`]: a domain with memory, rings, grants, event channels and attached
//! backends, but without an image. [`Shell::execute`] puts the image in and makes it a [`Ready`]
//! domain, and [`Ready::unpause`] lets it run. Until then, dropping the value takes the domain
//! away again, so a failure at any step leaves nothing behind.

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
