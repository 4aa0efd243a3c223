// SPDX-License-Identifier: MIT OR Apache-2.0
//! `public/version.h`: commands of [`HYPERVISOR_XEN_VERSION`](crate::hypercall::HYPERVISOR_XEN_VERSION),
//! and what they write.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Returns the major and minor version in one word.
pub const XENVER_VERSION: u64 = 0;
pub const XENVER_EXTRAVERSION: u64 = 1;
pub const XENVER_COMPILE_INFO: u64 = 2;
pub const XENVER_CAPABILITIES: u64 = 3;
pub const XENVER_CHANGESET: u64 = 4;
pub const XENVER_PLATFORM_PARAMETERS: u64 = 5;
/// Returns the size of a page in bytes, and takes no structure.
pub const XENVER_PAGESIZE: u64 = 7;
pub const XENVER_COMMANDLINE: u64 = 9;
pub const XENVER_BUILD_ID: u64 = 10;

/// `xen_extraversion_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
pub struct ExtraVersion {
    pub text: [u8; 16],
}

/// `struct xen_compile_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
pub struct CompileInfo {
    pub compiler: [u8; 64],
    pub compile_by: [u8; 16],
    pub compile_domain: [u8; 32],
    pub compile_date: [u8; 32],
}
const _: () = assert!(size_of::<CompileInfo>() == 144);

/// `xen_capabilities_info_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
pub struct CapabilitiesInfo {
    pub text: [u8; 1024],
}

/// `xen_changeset_info_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
pub struct ChangesetInfo {
    pub text: [u8; 64],
}

/// `struct xen_platform_parameters`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub struct PlatformParameters {
    pub virt_start: u64,
}

/// `xen_commandline_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
pub struct CommandLine {
    pub text: [u8; 1024],
}

/// Bytes of a [`BuildId`]: more than any linker's hash.
pub const BUILD_ID_SIZE: usize = 124;

/// `struct xen_build_id` (`struct xen_varbuf` since Xen 4.18) with its buffer. `len` is the size of
/// the buffer, for Xen; the hypercall returns how many bytes Xen wrote.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
pub struct BuildId {
    pub len: u32,
    pub buf: [u8; BUILD_ID_SIZE],
}
