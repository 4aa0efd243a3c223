// SPDX-License-Identifier: GPL-3.0-or-later
//! The format of a core file: the header, the table of segments and the notes.
//!
//! ```text
//! 0        ELF header, program headers, notes
//! DATA     the guest's memory: address A is at DATA + A
//! ```
//!
//! The place of the memory does not depend on the number of segments, so memory is copied before it
//! is known where there is any. What has none, or only zeroes, is a hole of the file.
//!
//! Sources: the System V ABI (`ET_CORE`), and Linux' `elfcore.h` for `NT_PRSTATUS`, `NT_PRPSINFO` and
//! `NT_PRFPREG` on x86-64, which debuggers expect.

use xen::vcpu_state::{Register, VcpuState};

/// Where the guest's memory begins in the file. A page boundary, so that pages are pages of the file.
pub(super) const DATA: u64 = 1 << 20;

/// The most segments. The rest of the room before [`DATA`] suffices for the notes of 128 vCPUs.
pub(super) const MAX_SEGMENTS: usize = 8192;

const HEADER_SIZE: usize = 64;
const SEGMENT_SIZE: usize = 56;
const MAX_VCPUS: usize = 128;
const PRSTATUS_SIZE: usize = 336;
const PRPSINFO_SIZE: usize = 136;
/// Length, length and type of a note, and `CORE` with padding.
const NOTE_HEADER: usize = 20;

const _: () = assert!(
    (HEADER_SIZE
        + (MAX_SEGMENTS + 1) * SEGMENT_SIZE
        + NOTE_HEADER
        + PRPSINFO_SIZE
        + MAX_VCPUS * (2 * NOTE_HEADER + PRSTATUS_SIZE + 512)) as u64
        <= DATA
);
// The number of segments is a half-word, and its highest value has a meaning of its own.
const _: () = assert!(MAX_SEGMENTS < 0xfffe);

const ET_CORE: u16 = 4;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// Readable, writable, executable: a guest's page tables say more, for each page.
const ALL_RIGHTS: u32 = 7;
const NT_PRSTATUS: u32 = 1;
const NT_PRFPREG: u32 = 2;
const NT_PRPSINFO: u32 = 3;

/// Consecutive memory of the guest that is seen at consecutive addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where a debugger sees it.
    pub(super) address: u64,
    /// The guest-physical address.
    pub(super) physical: u64,
    /// Its length in bytes.
    pub(super) length: u64,
}

/// What the file says about the program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program<'a> {
    /// The file name of the kernel, which debuggers compare with that of the program they are given.
    pub(super) kernel: &'a str,
    /// What debuggers show as the command.
    pub(super) command: &'a str,
}

/// Returns everything before the memory.
///
/// # Panics
/// There are more than [`MAX_SEGMENTS`] segments, which is a bug.
pub(super) fn head(segments: &[Segment], vcpus: &[VcpuState], program: Program<'_>) -> Vec<u8> {
    assert!(segments.len() <= MAX_SEGMENTS, "{} segments", segments.len());
    let notes = notes(vcpus, program);
    let notes_at = HEADER_SIZE + (segments.len() + 1) * SEGMENT_SIZE;
    let mut file = Vec::with_capacity(notes_at + notes.len());
    header(&mut file, segments.len() + 1);
    let size = notes.len() as u64;
    program_header(&mut file, PT_NOTE, 0, [notes_at as u64, 0, 0, size, 0, 4]);
    for Segment { address, physical, length } in segments {
        let fields = [DATA + physical, *address, *physical, *length, *length, 0x1000];
        program_header(&mut file, PT_LOAD, ALL_RIGHTS, fields);
    }
    file.extend(notes);
    file
}

fn header(file: &mut Vec<u8>, count: usize) {
    // 64 bits, little-endian, version 1, ABI of System V.
    file.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
    file.extend([0; 8]);
    file.extend(ET_CORE.to_le_bytes());
    file.extend(EM_X86_64.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    // No entry point, and no sections.
    for word in [0, HEADER_SIZE as u64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "MAX_SEGMENTS fits, as checked above")]
    for half in [HEADER_SIZE, SEGMENT_SIZE, count, 0, 0, 0] {
        file.extend((half as u16).to_le_bytes());
    }
}

/// Adds a program header: offset, address, physical address, size in the file and in memory,
/// alignment.
fn program_header(file: &mut Vec<u8>, kind: u32, rights: u32, fields: [u64; 6]) {
    file.extend(kind.to_le_bytes());
    file.extend(rights.to_le_bytes());
    for field in fields {
        file.extend(field.to_le_bytes());
    }
}

fn notes(vcpus: &[VcpuState], program: Program<'_>) -> Vec<u8> {
    let mut notes = Vec::new();
    // Of the first vCPU, which is the one that debuggers show first.
    let mut vcpus = vcpus.iter().take(MAX_VCPUS);
    if let Some(first) = vcpus.next() {
        note(&mut notes, NT_PRSTATUS, &status(first));
        note(&mut notes, NT_PRPSINFO, &process_info(program));
        note(&mut notes, NT_PRFPREG, first.fpu());
    }
    for vcpu in vcpus {
        note(&mut notes, NT_PRSTATUS, &status(vcpu));
        note(&mut notes, NT_PRFPREG, vcpu.fpu());
    }
    notes
}

fn note(notes: &mut Vec<u8>, kind: u32, descriptor: &[u8]) {
    const OWNER: &[u8; 8] = b"CORE\0\0\0\0";
    notes.extend(5u32.to_le_bytes());
    let length = u32::try_from(descriptor.len()).expect("a note has less than 1 KiB");
    notes.extend(length.to_le_bytes());
    notes.extend(kind.to_le_bytes());
    notes.extend(OWNER);
    notes.extend(descriptor);
}

/// Returns `struct elf_prstatus`: a vCPU is a thread, whose number is one higher, because debuggers
/// take 0 for no thread.
fn status(vcpu: &VcpuState) -> [u8; PRSTATUS_SIZE] {
    use Register::{
        Cs, Ds, Es, Fs, FsBase, Gs, GsBase, R8, R9, R10, R11, R12, R13, R14, R15, Rax, Rbp, Rbx,
        Rcx, Rdi, Rdx, Rflags, Rip, Rsi, Rsp, Ss,
    };
    const PID: usize = 32;
    const REGISTERS: usize = 112;
    const HAS_FPU: usize = 328;
    // `struct user_regs_struct`. The register of a system call's number is the 16th.
    let order = [
        R15, R14, R13, R12, Rbp, Rbx, R11, R10, R9, R8, Rax, Rcx, Rdx, Rsi, Rdi, Rax, Rip, Cs,
        Rflags, Rsp, Ss, FsBase, GsBase, Ds, Es, Fs, Gs,
    ];
    let mut bytes = [0; PRSTATUS_SIZE];
    bytes[PID..][..4].copy_from_slice(&(u32::from(vcpu.vcpu) + 1).to_le_bytes());
    for (slot, register) in bytes[REGISTERS..].chunks_exact_mut(8).zip(order) {
        slot.copy_from_slice(&vcpu.get(register).to_le_bytes());
    }
    // No system call is in progress.
    bytes[REGISTERS + 15 * 8..][..8].fill(0xff);
    bytes[HAS_FPU] = 1;
    bytes
}

/// Returns `struct elf_prpsinfo`.
fn process_info(program: Program<'_>) -> [u8; PRPSINFO_SIZE] {
    const STATE_LETTER: usize = 1;
    const PID: usize = 24;
    const KERNEL: usize = 40;
    const COMMAND: usize = 56;
    let mut bytes = [0; PRPSINFO_SIZE];
    bytes[STATE_LETTER] = b'R';
    bytes[PID] = 1;
    // Both end with a zero.
    for (at, length, text) in [(KERNEL, 15, program.kernel), (COMMAND, 79, program.command)] {
        let text = &text.as_bytes()[..text.len().min(length)];
        bytes[at..at + text.len()].copy_from_slice(text);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use object::Endianness;
    use object::elf::{self, FileHeader64};
    use object::read::elf::{FileHeader, ProgramHeader};
    use xen::hvm_context::PvhVcpu;

    use super::*;

    const PROGRAM: Program<'_> = Program { kernel: "a-kernel-with-a-long-name", command: "web" };

    fn vcpus() -> Vec<VcpuState> {
        VcpuState::all(&PvhVcpu { entry: 0x1_0000, start_info: 0x3f_8000 }.context(1))
    }

    #[test]
    fn a_reader_of_elf_finds_the_segments_and_the_registers() {
        let segments = [
            Segment { address: 0, physical: 0, length: 0x3000 },
            Segment { address: 1 << 63, physical: 0x1000, length: 0x1000 },
        ];
        let file = head(&segments, &vcpus(), PROGRAM);
        let header = FileHeader64::<Endianness>::parse(&*file).unwrap();
        let endian = header.endian().unwrap();
        assert_eq!(header.e_type(endian), elf::ET_CORE);
        assert_eq!(header.e_machine(endian), elf::EM_X86_64);
        let rows = header.program_headers(endian, &*file).unwrap();
        let shown: Vec<_> = rows
            .iter()
            .map(|row| {
                let place = (row.p_offset(endian), row.p_vaddr(endian), row.p_paddr(endian));
                (row.p_type(endian), place, row.p_filesz(endian))
            })
            .collect();
        assert_eq!(shown[0].0, elf::PT_NOTE);
        assert_eq!(shown[1], (elf::PT_LOAD, (DATA, 0, 0), 0x3000));
        assert_eq!(shown[2], (elf::PT_LOAD, (DATA + 0x1000, 1 << 63, 0x1000), 0x1000));
        let mut notes = rows[0].notes(endian, &*file).unwrap().unwrap();
        let mut found = Vec::new();
        while let Some(note) = notes.next().unwrap() {
            assert_eq!(note.name(), b"CORE");
            found.push((note.n_type(endian).0, note.desc()));
        }
        let kinds: Vec<_> = found.iter().map(|(kind, text)| (*kind, text.len())).collect();
        assert_eq!(kinds, [(NT_PRSTATUS, 336), (NT_PRPSINFO, 136), (NT_PRFPREG, 512)]);
        let word = |at: usize| u64::from_le_bytes(found[0].1[at..at + 8].try_into().unwrap());
        assert_eq!((word(112 + 16 * 8), word(112 + 5 * 8)), (0x1_0000, 0x3f_8000));
        assert_eq!(found[0].1[32], 1, "the thread's number");
        assert_eq!(found[1].1[40..56], *b"a-kernel-with-a\0");
    }

    #[test]
    fn the_largest_head_ends_before_the_memory() {
        let segment = Segment { address: 0, physical: 0, length: 1 };
        let vcpus = vec![vcpus().remove(0); MAX_VCPUS + 1];
        let file = head(&vec![segment; MAX_SEGMENTS], &vcpus, PROGRAM);
        assert!(file.len() as u64 <= DATA, "{}", file.len());
        assert!(file.len() as u64 > DATA / 2, "{}", file.len());
        assert_eq!(head(&[], &[], PROGRAM).len(), HEADER_SIZE + SEGMENT_SIZE);
    }
}
