// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares the raw ABI with the C headers of Xen (`libxen-dev`): sizes, offsets and constants.
//!
//! `XEN_HEADERS` names the folder with the `xen` folder of a version's headers; the default is the
//! system's. Where Xen versions differ, the interface version in the header decides which of our
//! structures is compared.

mod c;
mod devices;
mod guests;
mod hypercalls;
mod machine;
mod scheduling;
mod toolstack;

use std::path::PathBuf;

pub(crate) const PROLOGUE: &str = r"
#define __XEN_TOOLS__ 1
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <xen/xen.h>
#include <xen/version.h>
#include <xen/domctl.h>
#include <xen/sysctl.h>
#include <xen/memory.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/sched.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/hvm/dm_op.h>
#include <xen/hvm/save.h>
#include <xen/arch-x86/cpuid.h>
#include <xen/arch-x86/hvm/start_info.h>
#include <xen/io/ring.h>
#include <xen/io/netif.h>
#include <xen/io/console.h>
#include <xen/io/blkif.h>
#include <xen/io/xs_wire.h>
#include <xen/io/9pfs.h>
";

/// Returns the folder that `XEN_HEADERS` names.
pub(crate) fn xen_headers() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("XEN_HEADERS")?);
    // Without this, the compiler would take the system's headers instead.
    let header = folder.join("xen/domctl.h");
    assert!(header.exists(), "XEN_HEADERS is wrong: {} does not exist", header.display());
    Some(folder)
}
