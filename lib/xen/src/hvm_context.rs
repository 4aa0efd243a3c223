// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state that a PVH vCPU starts with.
//!
//! The records follow Xen's `public/arch-x86/hvm/save.h`, the values
//! `tools/libs/guest/xg_dom_x86.c`. The state is built here, instead of being read from Xen and
//! changed, so that it is the same on each host, and because `gethvmcontext` costs seven times as
//! much as loading the state.
//!
//! Header, MTRR and CPU records go in one call: each call stops all vCPUs and starts only those for
//! which it has a CPU record.

use xen_abi::hvm::{
    HVM_FILE_MAGIC, HVM_FILE_VERSION, HVM_SAVE_CODE_CPU, HVM_SAVE_CODE_END, HVM_SAVE_CODE_HEADER,
    HVM_SAVE_CODE_MTRR, HwMtrr, SaveDescriptor, SaveHeader, hw_cpu,
};
use zerocopy::IntoBytes;

const DESCRIPTOR: usize = size_of::<SaveDescriptor>();

/// The length in bytes of the state of a domain with one vCPU.
const LENGTH: usize = DESCRIPTOR
    + size_of::<SaveHeader>()
    + DESCRIPTOR
    + size_of::<HwMtrr>()
    + DESCRIPTOR
    + hw_cpu::SIZE
    + DESCRIPTOR;

/// The length in bytes that each further vCPU adds.
const LENGTH_OF_VCPU: usize = DESCRIPTOR + size_of::<HwMtrr>();

/// Protected mode without paging; bit 4 (ET) always reads as one on real CPUs.
const CR0_PE_ET: u64 = 0x11;
/// Flat 32-bit code, present, accessed.
const CODE_SEGMENT: u32 = 0xc9b;
/// Flat 32-bit data, present, accessed.
const DATA_SEGMENT: u32 = 0xc93;
/// 32-bit TSS, busy, present.
const TASK_STATE: u32 = 0x8b;
const TASK_STATE_LIMIT: u32 = 0x67;
const FLAT_LIMIT: u32 = u32::MAX;
const DR6_RESET: u64 = 0xffff_0ff0;
const DR7_RESET: u64 = 0x400;

/// The page attribute table after reset. Zero would make all memory uncached.
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
/// Eight variable ranges, fixed ranges, write combining.
const MTRR_CAPABILITIES: u64 = 0x508;
/// Enabled, everything write-back.
const MTRR_DEFAULT: u64 = 0x806;

/// Where a PVH guest starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PvhVcpu {
    /// The physical address of its first instruction.
    pub entry: u32,
    /// The physical address of `hvm_start_info`, passed in `ebx`.
    pub start_info: u64,
}

impl PvhVcpu {
    /// Returns the state of a domain with this number of vCPUs, for [`crate::Xen::set_hvm_context`].
    /// This is the first vCPU. The memory types (MTRR) are the same for all vCPUs: kernels warn if
    /// those differ.
    #[must_use]
    pub fn context(&self, vcpus: u16) -> Vec<u8> {
        let more = usize::from(vcpus.saturating_sub(1));
        let mut stream = Stream { bytes: Vec::with_capacity(LENGTH + more * LENGTH_OF_VCPU) };
        let header = SaveHeader {
            magic: HVM_FILE_MAGIC,
            version: HVM_FILE_VERSION,
            // Zero leaves the guest's TSC frequency unchanged.
            gtsc_khz: 0,
            ..SaveHeader::default()
        };
        stream.record(HVM_SAVE_CODE_HEADER, 0, header.as_bytes());
        let mtrr = HwMtrr {
            msr_pat_cr: PAT_RESET,
            msr_mtrr_cap: MTRR_CAPABILITIES,
            msr_mtrr_def_type: MTRR_DEFAULT,
            ..HwMtrr::default()
        };
        for vcpu in 0..vcpus {
            stream.record(HVM_SAVE_CODE_MTRR, vcpu, mtrr.as_bytes());
        }
        stream.record(HVM_SAVE_CODE_CPU, 0, &self.cpu());
        stream.record(HVM_SAVE_CODE_END, 0, &[]);
        stream.bytes
    }

    fn cpu(&self) -> [u8; hw_cpu::SIZE] {
        let mut cpu = [0; hw_cpu::SIZE];
        let words = [
            (hw_cpu::RBX, self.start_info),
            (hw_cpu::RIP, u64::from(self.entry)),
            (hw_cpu::CR0, CR0_PE_ET),
            (hw_cpu::DR6, DR6_RESET),
            (hw_cpu::DR7, DR7_RESET),
        ];
        for (offset, value) in words {
            cpu[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        }
        let segments = [
            (hw_cpu::CS_LIMIT, FLAT_LIMIT),
            (hw_cpu::DS_LIMIT, FLAT_LIMIT),
            (hw_cpu::ES_LIMIT, FLAT_LIMIT),
            (hw_cpu::SS_LIMIT, FLAT_LIMIT),
            (hw_cpu::TR_LIMIT, TASK_STATE_LIMIT),
            (hw_cpu::CS_ARBYTES, CODE_SEGMENT),
            (hw_cpu::DS_ARBYTES, DATA_SEGMENT),
            (hw_cpu::ES_ARBYTES, DATA_SEGMENT),
            (hw_cpu::SS_ARBYTES, DATA_SEGMENT),
            (hw_cpu::TR_ARBYTES, TASK_STATE),
        ];
        for (offset, value) in segments {
            cpu[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        }
        cpu
    }
}

struct Stream {
    bytes: Vec<u8>,
}

impl Stream {
    fn record(&mut self, typecode: u16, instance: u16, body: &[u8]) {
        #[expect(clippy::cast_possible_truncation, reason = "no record is longer than LENGTH")]
        let length = {
            const { assert!(LENGTH <= u32::MAX as usize) };
            body.len() as u32
        };
        let descriptor = SaveDescriptor { typecode, instance, length };
        self.bytes.extend_from_slice(descriptor.as_bytes());
        self.bytes.extend_from_slice(body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the type and the vCPU of each record.
    fn records(vcpus: u16) -> Vec<(u16, u16)> {
        let context = PvhVcpu { entry: 0x1_0000, start_info: 0x3f_8000 }.context(vcpus);
        let mut at = 0;
        let mut records = Vec::new();
        while at < context.len() {
            let word = |at: usize| u16::from_le_bytes([context[at], context[at + 1]]);
            records.push((word(at), word(at + 2)));
            let length = u32::from_le_bytes(context[at + 4..at + 8].try_into().unwrap());
            at += DESCRIPTOR + usize::try_from(length).unwrap();
        }
        assert_eq!((at, context.capacity()), (context.len(), context.len()));
        records
    }

    #[test]
    fn the_records_fill_the_state_without_gaps() {
        let [header, cpu, end] = [HVM_SAVE_CODE_HEADER, HVM_SAVE_CODE_CPU, 0].map(|code| (code, 0));
        let mtrr = |vcpu| (HVM_SAVE_CODE_MTRR, vcpu);
        assert_eq!(records(1), [header, mtrr(0), cpu, end]);
        assert_eq!(records(3), [header, mtrr(0), mtrr(1), mtrr(2), cpu, end]);
    }

    #[test]
    fn entry_and_start_info_are_where_xen_looks() {
        let cpu = PvhVcpu { entry: 0x1_0000, start_info: 0x3f_8000 }.cpu();
        assert_eq!(cpu[hw_cpu::RIP..][..8], 0x1_0000u64.to_le_bytes());
        assert_eq!(cpu[hw_cpu::RBX..][..8], 0x3f_8000u64.to_le_bytes());
    }
}
