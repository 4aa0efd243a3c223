// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads the setup header of a Linux bzImage (Documentation/arch/x86/boot.rst in Linux).

use super::error::{BzImageProblem, ImageError};

/// Offsets of the header's fields in the file.
mod offset {
    pub(super) const SETUP_SECTORS: usize = 0x1f1;
    pub(super) const BOOT_FLAG: usize = 0x1fe;
    pub(super) const MAGIC: usize = 0x202;
    pub(super) const VERSION: usize = 0x206;
    pub(super) const PAYLOAD_OFFSET: usize = 0x248;
    pub(super) const PAYLOAD_LENGTH: usize = 0x24c;
}

/// First version of the boot protocol whose header says where the payload is.
const FIRST_VERSION: u16 = 0x0208;

/// Size of a sector, in which the header counts the code before the protected-mode code.
const SECTOR: usize = 512;

/// Length of the unpacked kernel's size, a little-endian number at the end of the payload.
pub(super) const SIZE_BYTES: usize = 4;

/// A Linux bzImage.
#[derive(Debug)]
pub(super) struct BzImage<'a> {
    payload: &'a [u8],
    unpacked_size: usize,
}

impl<'a> BzImage<'a> {
    /// Returns the bzImage in `file`, or `None` if it is something else.
    ///
    /// # Errors
    /// It is a bzImage, but its payload cannot be located.
    pub(super) fn find(file: &'a [u8]) -> Result<Option<Self>, ImageError> {
        if read(file, offset::BOOT_FLAG) != Some([0x55, 0xaa])
            || read(file, offset::MAGIC) != Some(*b"HdrS")
        {
            return Ok(None);
        }
        let short = || ImageError::BzImage(BzImageProblem::Header);
        let version = u16::from_le_bytes(read(file, offset::VERSION).ok_or_else(short)?);
        if version < FIRST_VERSION {
            return Err(ImageError::BzImage(BzImageProblem::OldProtocol(version)));
        }
        let field = |at| read(file, at).map(u32::from_le_bytes).ok_or_else(short);
        let (start, length) = (field(offset::PAYLOAD_OFFSET)?, field(offset::PAYLOAD_LENGTH)?);
        let [sectors] = read(file, offset::SETUP_SECTORS).ok_or_else(short)?;
        // The boot protocol defines 0 as 4, for old boot loaders.
        let sectors = if sectors == 0 { 4 } else { usize::from(sectors) };
        let code = (sectors + 1) * SECTOR;
        let end = code as u64 + u64::from(start) + u64::from(length);
        let payload = usize::try_from(start)
            .ok()
            .and_then(|start| file.get(code + start..usize::try_from(end).ok()?))
            .ok_or(ImageError::BzImage(BzImageProblem::Truncated { end, size: file.len() }))?;
        let unpacked_size = payload
            .last_chunk()
            .and_then(|size| usize::try_from(u32::from_le_bytes(*size)).ok())
            .ok_or(ImageError::BzImage(BzImageProblem::Empty))?;
        Ok(Some(Self { payload, unpacked_size }))
    }

    /// Returns the packed kernel, followed by its unpacked size.
    pub(super) fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Returns the size of the unpacked kernel, in bytes.
    pub(super) fn unpacked_size(&self) -> usize {
        self.unpacked_size
    }
}

fn read<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..)?.first_chunk().copied()
}
