// SPDX-License-Identifier: GPL-3.0-or-later
//! Memory and vCPUs for tests.

use std::collections::BTreeMap;

use xen::units::{Gfn, PAGE_SIZE};
use xen::vcpu_state::VcpuState;
use xen_abi::hvm::{HVM_SAVE_CODE_CPU, SaveDescriptor, hw_cpu};
use zerocopy::IntoBytes;

use super::Memory;

/// Pages by frame.
pub(super) struct Pages(pub(super) BTreeMap<u64, [u8; PAGE_SIZE]>);

impl Memory for Pages {
    fn read(&self, first: Gfn, to: &mut [u8], present: &mut [bool]) -> Result<bool, xen::Error> {
        for ((index, is_present), page) in
            (0..).zip(&mut *present).zip(to.chunks_exact_mut(PAGE_SIZE))
        {
            let found = self.0.get(&(first.0 + index));
            *is_present = found.is_some();
            if let Some(found) = found {
                page.copy_from_slice(found);
            }
        }
        Ok(present[0])
    }
}

/// Returns a vCPU with these values at these offsets of `struct hvm_hw_cpu`.
pub(super) fn vcpu(fields: &[(usize, u64)]) -> VcpuState {
    let mut record = [0; hw_cpu::SIZE];
    for (offset, value) in fields {
        record[*offset..][..8].copy_from_slice(&value.to_le_bytes());
    }
    let length = u32::try_from(hw_cpu::SIZE).expect("it has 1032 bytes");
    let descriptor = SaveDescriptor { typecode: HVM_SAVE_CODE_CPU, instance: 0, length };
    let context = [descriptor.as_bytes(), &record].concat();
    VcpuState::all(&context).remove(0)
}
