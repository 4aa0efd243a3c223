// SPDX-License-Identifier: GPL-3.0-or-later
//! Files on storage that may not answer.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

use nix::sys::memfd::{MFdFlags, memfd_create};
use rustix::fs::{SealFlags, fcntl_add_seals, fstatfs};

use super::error::ImageError;
use super::file::{ImageKey, append, open};
use super::room::{self, STEP};

/// The types (`f_type` of statfs(2), from linux/magic.h and the kernel's sources) of file systems
/// that answer without a server: those in memory, and those on block devices that root mounts.
const LOCAL: &[u32] = &[
    0x0000_ef53, // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x7371_7368, // SquashFS
    0xe0f5_e1e2, // EROFS
    0x0000_9660, // ISO 9660
    0x0000_4d44, // FAT
];

/// Opens a regular file as [`open`] does, for another process: the file itself if it is on a local
/// file system, otherwise a copy of it in memory. What FUSE, NFS and other file systems ask a server for may take for ever: then
/// this process waits, and not the other one, which serves others.
///
/// # Errors
/// As for [`open`]; the file cannot be read, or dom0 has too little memory for the copy.
pub fn open_for_another_process(path: &Path) -> Result<File, ImageError> {
    open(path).and_then(for_another_process)
}

fn for_another_process(file: File) -> Result<File, ImageError> {
    let of = fstatfs(&file).map_err(|errno| ImageError::Read(errno.into()))?;
    // The type has 32 bits; its sign is not its own.
    match u32::try_from(of.f_type & 0xffff_ffff).is_ok_and(|kind| LOCAL.contains(&kind)) {
        true => Ok(file),
        false => copy(&file),
    }
}

/// Copies a file into memory, where no process can change it any more.
#[cold]
fn copy(file: &File) -> Result<File, ImageError> {
    let key = ImageKey::of(file)?;
    let size = usize::try_from(key.size).map_err(|_| ImageError::TooLarge { what: "the file" })?;
    let failed = |error: io::Error| match error.raw_os_error() {
        Some(libc::ENOMEM | libc::ENOSPC) => ImageError::NoMemory { size: key.size },
        _ => ImageError::Read(error),
    };
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let memory = memfd_create(c"chaos", flags).map_err(|errno| failed(errno.into()))?;
    let mut memory = File::from(memory);
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < size {
        room::check().map_err(|available| ImageError::NoRoom { available })?;
        bytes.clear();
        let count = STEP.min(size - at);
        append(&mut bytes, file, at as u64, count)?;
        memory.write_all(&bytes).map_err(failed)?;
        at += count;
    }
    if ImageKey::of(file)? != key {
        return Err(ImageError::Changed);
    }
    memory.rewind().map_err(failed)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&memory, seals).map_err(|errno| failed(errno.into()))?;
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn a_file_on_a_local_file_system_is_passed_as_it_is() {
        let file = tempfile::tempfile().unwrap();
        let before = file.metadata().unwrap().ino();
        let passed = for_another_process(file).unwrap();
        assert_eq!(passed.metadata().unwrap().ino(), before);
    }

    #[test]
    fn a_file_whose_storage_may_not_answer_is_passed_as_a_copy_that_stays_as_it_is() {
        let content: Vec<u8> = (0..3 * STEP + 5).map(|at| (at % 251).to_le_bytes()[0]).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&content, 0).unwrap();
        let mut copied = copy(&file).unwrap();
        file.write_all_at(b"changed", 0).unwrap();
        let mut read = Vec::new();
        copied.read_to_end(&mut read).unwrap();
        assert!(read == content);
        copied.write_all_at(b"x", 0).unwrap_err();
        copied.set_len(1).unwrap_err();
    }

    #[test]
    fn a_file_of_proc_is_not_local() {
        // It claims to be empty.
        let passed = for_another_process(File::open("/proc/self/status").unwrap()).unwrap();
        assert_eq!(passed.metadata().unwrap().len(), 0);
        assert!(rustix::fs::fcntl_get_seals(&passed).unwrap().contains(SealFlags::WRITE));
    }
}
