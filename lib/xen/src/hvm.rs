// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations on HVM and PVH domains: page types and parameters.

use nix::errno::Errno;
use xen_abi::hvm::{self, DmOpSetMemType, HvmParam};
use xen_abi::hypercall::HYPERVISOR_HVM_OP;

use crate::error::Error;
use crate::hypercall::{Operation, Xen, guest_only};
use crate::units::{DomId, Gfn, Pages};

/// How a guest may use a page (`hvmmem_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemType {
    /// As ordinary memory.
    RamReadWrite,
    /// Writes of the guest's CPU are discarded. Not a security boundary, because a guest can defeat
    /// it: see `docs/noxs-abi.md`, "The seal".
    RamReadOnly,
}

/// Parameters of an HVM or PVH domain (`HVM_PARAM_*`). The guest may overwrite those marked so;
/// treat their values as untrusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    /// The frame of the XenStore ring.
    StorePfn,
    /// The guest's port for XenStore; the guest may overwrite it.
    StoreEvtchn,
    /// The time of emulated timers while the vCPU is not running (`HVMPTM_*`).
    TimerMode,
    /// The frame of the console ring.
    ConsolePfn,
    /// The guest's port for the console; the guest may overwrite it.
    ConsoleEvtchn,
}

impl Param {
    fn index(self) -> u32 {
        match self {
            Self::StorePfn => hvm::HVM_PARAM_STORE_PFN,
            Self::StoreEvtchn => hvm::HVM_PARAM_STORE_EVTCHN,
            Self::TimerMode => hvm::HVM_PARAM_TIMER_MODE,
            Self::ConsolePfn => hvm::HVM_PARAM_CONSOLE_PFN,
            Self::ConsoleEvtchn => hvm::HVM_PARAM_CONSOLE_EVTCHN,
        }
    }
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
        let operation = "dm_op set_mem_type";
        guest_only(operation, domid)?;
        let nr = u32::try_from(count.0).map_err(|_| Error::Hypercall {
            operation,
            domid: Some(domid),
            errno: Errno::E2BIG,
        })?;
        let value = DmOpSetMemType {
            op: hvm::XEN_DMOP_SET_MEM_TYPE,
            nr,
            mem_type: match kind {
                MemType::RamReadWrite => hvm::HVMMEM_RAM_RW,
                MemType::RamReadOnly => hvm::HVMMEM_RAM_RO,
            },
            first_pfn: first.0,
            ..DmOpSetMemType::default()
        };
        self.dm_op(operation, domid, &value)
    }

    /// Sets a parameter of a domain.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn set_hvm_param(&self, domid: DomId, param: Param, value: u64) -> Result<(), Error> {
        let operation = Operation {
            name: "hvm_op set_param",
            hypercall: HYPERVISOR_HVM_OP,
            command: hvm::HVMOP_SET_PARAM,
        };
        guest_only(operation.name, domid)?;
        let mut argument = HvmParam { domid: domid.0, pad: 0, index: param.index(), value };
        self.operate(operation, domid, &mut argument).map(drop)
    }

    /// Returns a parameter of a domain.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn hvm_param(&self, domid: DomId, param: Param) -> Result<u64, Error> {
        let operation = Operation {
            name: "hvm_op get_param",
            hypercall: HYPERVISOR_HVM_OP,
            command: hvm::HVMOP_GET_PARAM,
        };
        let mut argument = HvmParam { domid: domid.0, pad: 0, index: param.index(), value: 0 };
        self.operate(operation, domid, &mut argument)?;
        Ok(argument.value)
    }
}
