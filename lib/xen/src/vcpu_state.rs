// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the state of vCPUs out of a domain's HVM context ([`crate::Xen::hvm_context`]).

use xen_abi::hvm::{HVM_SAVE_CODE_CPU, HVM_SAVE_CODE_END, SaveDescriptor, hw_cpu};
use zerocopy::FromBytes;

const DESCRIPTOR: usize = size_of::<SaveDescriptor>();

/// The state of a vCPU (`struct hvm_hw_cpu`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VcpuState {
    /// Its number.
    pub vcpu: u16,
    record: Box<[u8; hw_cpu::SIZE]>,
}

/// A register of 64 bits; a segment register has 16 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the processor's names")]
pub enum Register {
    Rax,
    Rbx,
    Rcx,
    Rdx,
    Rbp,
    Rsi,
    Rdi,
    Rsp,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    Rip,
    Rflags,
    Cr0,
    Cr3,
    Cr4,
    Efer,
    Cs,
    Ds,
    Es,
    Fs,
    Gs,
    Ss,
    FsBase,
    GsBase,
}

impl Register {
    /// Returns its offset in the record, and its size in bytes there.
    fn place(self) -> (usize, usize) {
        let offset = match self {
            Self::Rax => hw_cpu::RAX,
            Self::Rbx => hw_cpu::RBX,
            Self::Rcx => hw_cpu::RCX,
            Self::Rdx => hw_cpu::RDX,
            Self::Rbp => hw_cpu::RBP,
            Self::Rsi => hw_cpu::RSI,
            Self::Rdi => hw_cpu::RDI,
            Self::Rsp => hw_cpu::RSP,
            Self::R8 => hw_cpu::R8,
            Self::R9 => hw_cpu::R8 + 8,
            Self::R10 => hw_cpu::R8 + 16,
            Self::R11 => hw_cpu::R8 + 24,
            Self::R12 => hw_cpu::R8 + 32,
            Self::R13 => hw_cpu::R8 + 40,
            Self::R14 => hw_cpu::R8 + 48,
            Self::R15 => hw_cpu::R8 + 56,
            Self::Rip => hw_cpu::RIP,
            Self::Rflags => hw_cpu::RFLAGS,
            Self::Cr0 => hw_cpu::CR0,
            Self::Cr3 => hw_cpu::CR3,
            Self::Cr4 => hw_cpu::CR4,
            Self::Efer => hw_cpu::MSR_EFER,
            Self::FsBase => hw_cpu::FS_BASE,
            Self::GsBase => hw_cpu::GS_BASE,
            Self::Cs => return (hw_cpu::CS_SEL, 4),
            Self::Ds => return (hw_cpu::DS_SEL, 4),
            Self::Es => return (hw_cpu::ES_SEL, 4),
            Self::Fs => return (hw_cpu::FS_SEL, 4),
            Self::Gs => return (hw_cpu::GS_SEL, 4),
            Self::Ss => return (hw_cpu::SS_SEL, 4),
        };
        (offset, 8)
    }
}

impl VcpuState {
    /// Returns the states of the vCPUs that are up, in the order of the context. What is malformed
    /// ends the list.
    #[must_use]
    pub fn all(context: &[u8]) -> Vec<Self> {
        let mut states = Vec::new();
        let mut rest = context;
        while let Ok((descriptor, after)) = SaveDescriptor::read_from_prefix(rest) {
            let length = usize::try_from(descriptor.length).unwrap_or(usize::MAX);
            let Some(body) = after.get(..length) else { break };
            match descriptor.typecode {
                HVM_SAVE_CODE_END => break,
                HVM_SAVE_CODE_CPU => {
                    let Ok(record) = <[u8; hw_cpu::SIZE]>::try_from(body) else { break };
                    states.push(Self { vcpu: descriptor.instance, record: Box::new(record) });
                }
                _ => {}
            }
            rest = &rest[DESCRIPTOR + length..];
        }
        states
    }

    /// Returns the value of a register.
    #[must_use]
    pub fn get(&self, register: Register) -> u64 {
        let (offset, size) = register.place();
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&self.record[offset..offset + size]);
        u64::from_le_bytes(bytes)
    }

    /// Returns the state of the FPU and of the SSE registers, as `FXSAVE` stores it.
    #[must_use]
    pub fn fpu(&self) -> &[u8] {
        &self.record[hw_cpu::FPU_REGS..][..hw_cpu::FPU_REGS_SIZE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hvm_context::PvhVcpu;

    #[test]
    fn the_state_that_a_guest_starts_with_is_read_back() {
        let context = PvhVcpu { entry: 0x1_0000, start_info: 0x3f_8000 }.context(3);
        let states = VcpuState::all(&context);
        // The others are down.
        assert_eq!(states.len(), 1);
        let get = |register| states[0].get(register);
        assert_eq!((states[0].vcpu, get(Register::Rip)), (0, 0x1_0000));
        assert_eq!((get(Register::Rbx), get(Register::Cr0)), (0x3f_8000, 0x11));
        assert_eq!((get(Register::Cs), get(Register::Efer)), (0, 0));
        assert_eq!(states[0].fpu().len(), 512);
    }

    #[test]
    fn each_register_has_a_place_of_its_own() {
        use Register::*;
        let all = [
            Rax, Rbx, Rcx, Rdx, Rbp, Rsi, Rdi, Rsp, R8, R9, R10, R11, R12, R13, R14, R15, Rip,
            Rflags, Cr0, Cr3, Cr4, Efer, Cs, Ds, Es, Fs, Gs, Ss, FsBase, GsBase,
        ];
        let mut used = [false; hw_cpu::SIZE];
        for register in all {
            let (offset, size) = register.place();
            let bytes = &mut used[offset..offset + size];
            assert!(bytes.iter().all(|byte| !byte), "{register:?}");
            bytes.fill(true);
        }
    }

    #[test]
    fn a_context_that_is_cut_off_ends_the_list() {
        let context = PvhVcpu { entry: 1, start_info: 2 }.context(1);
        for length in 0..context.len() {
            let states = VcpuState::all(&context[..length]);
            assert!(states.len() <= 1);
        }
        assert_eq!(VcpuState::all(&context[..context.len() - 16]).len(), 0);
    }
}
