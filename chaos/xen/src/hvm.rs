//! Operations on HVM and PVH domains that go through `dm_op`.
//!
//! `unsafe`: the kernel follows pointers in the ioctl's structure.
#![allow(unsafe_code)]

use crate::device;
use crate::error::Error;
use crate::hypercall::Xen;
use crate::sys::hvm::{DmOpSetMemType, HVMMEM_RAM_RO, HVMMEM_RAM_RW, XEN_DMOP_SET_MEM_TYPE};
use crate::sys::privcmd::{IOCTL_PRIVCMD_DM_OP, PrivcmdDmOp, PrivcmdDmOpBuf};
use crate::units::{DomId, Gfn, Pages};

/// How a guest may use a page (`hvmmem_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemType {
    /// As ordinary memory.
    RamReadWrite,
    /// Its CPU's writes are discarded. No boundary against a guest that means it: see
    /// `docs/noxs-abi.md`, "The seal".
    RamReadOnly,
}

impl Xen {
    /// Changes how a guest may use some of its pages (`XEN_DMOP_set_mem_type`).
    ///
    /// # Errors
    /// Xen refuses.
    pub fn set_mem_type(
        &self,
        domid: DomId,
        first: Gfn,
        count: Pages,
        kind: MemType,
    ) -> Result<(), Error> {
        let failed =
            |errno| Error::Hypercall { operation: "dm_op set_mem_type", domid: Some(domid), errno };
        let mut op = DmOpSetMemType {
            op: XEN_DMOP_SET_MEM_TYPE,
            nr: u32::try_from(count.0).map_err(|_| failed(nix::errno::Errno::E2BIG))?,
            mem_type: match kind {
                MemType::RamReadWrite => HVMMEM_RAM_RW,
                MemType::RamReadOnly => HVMMEM_RAM_RO,
            },
            first_pfn: first.0,
            ..DmOpSetMemType::default()
        };
        let buffer = PrivcmdDmOpBuf {
            uptr: std::ptr::from_mut(&mut op).cast(),
            size: size_of::<DmOpSetMemType>(),
        };
        let mut call = PrivcmdDmOp { dom: domid.0, num: 1, pad: 0, ubufs: &raw const buffer };
        // SAFETY: `call` is this ioctl's structure; it names one buffer, which is `op` with its
        // exact size. Both live until the call returns, and the kernel pins the buffer meanwhile.
        unsafe { device::ioctl(self.privcmd(), IOCTL_PRIVCMD_DM_OP, &raw mut call) }
            .map(drop)
            .map_err(failed)
    }
}
