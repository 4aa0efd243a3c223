// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Xen reports about itself.

use std::fmt::Write as _;

use nix::errno::Errno;
use xen_abi::version::{
    BUILD_ID_SIZE, BuildId, CapabilitiesInfo, ChangesetInfo, CommandLine, CompileInfo,
    ExtraVersion, PlatformParameters,
};
use zerocopy::FromZeros;

use crate::error::Error;
use crate::hypercall::Xen;
use crate::units::Bytes;

/// Which Xen this is. Xen shortens texts that are too long for its interface, each to one byte less
/// than its room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// Major version.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// What follows these two in the name of the version, such as `.7`; up to 15 bytes.
    pub extra: String,
    /// The kinds of guests that it can run, separated by spaces, such as `hvm-3.0-x86_64`.
    pub capabilities: String,
    /// The commit it was built from, as its builder notes it; up to 63 bytes.
    pub changeset: String,
    /// Xen's command line, up to 1023 bytes.
    pub command_line: String,
    /// The compiler it was built with, up to 63 bytes.
    pub compiler: String,
    /// Who built it, up to 15 bytes.
    pub compile_by: String,
    /// The domain name of the machine that built it, up to 31 bytes.
    pub compile_domain: String,
    /// When it was built, up to 31 bytes.
    pub compile_date: String,
    /// The size of a page.
    pub page_size: Bytes,
    /// Where Xen's part of a PV guest's address space begins, as Xen reports it to dom0; 0 in some.
    pub virt_start: u64,
    /// The linker's hash of Xen, in hexadecimal digits; empty if it has none.
    pub build_id: String,
}

impl Xen {
    /// Returns what Xen reports about itself.
    ///
    /// # Errors
    /// Xen refuses.
    pub fn version_info(&self) -> Result<VersionInfo, Error> {
        let mut extra = ExtraVersion::new_zeroed();
        let mut capabilities = CapabilitiesInfo::new_zeroed();
        let mut changeset = ChangesetInfo::new_zeroed();
        let mut command_line = CommandLine::new_zeroed();
        let mut compile = CompileInfo::new_zeroed();
        let mut platform = PlatformParameters::default();
        self.xen_version(&mut extra)?;
        self.xen_version(&mut capabilities)?;
        self.xen_version(&mut changeset)?;
        self.xen_version(&mut command_line)?;
        self.xen_version(&mut compile)?;
        self.xen_version(&mut platform)?;
        let (major, minor) = self.version();
        Ok(VersionInfo {
            major,
            minor,
            extra: text(&extra.text),
            capabilities: text(&capabilities.text).trim_end().to_owned(),
            changeset: text(&changeset.text),
            command_line: text(&command_line.text),
            compiler: text(&compile.compiler),
            compile_by: text(&compile.compile_by),
            compile_domain: text(&compile.compile_domain),
            compile_date: text(&compile.compile_date),
            page_size: Bytes(self.page_size()?.into()),
            virt_start: platform.virt_start,
            build_id: self.build_id()?,
        })
    }

    fn build_id(&self) -> Result<String, Error> {
        let mut raw = BuildId::new_zeroed();
        match self.xen_version(&mut raw) {
            Ok(written) => Ok(hex(&raw.buf, written)),
            // It was built without one.
            Err(Error::Hypercall { errno: Errno::ENODATA, .. }) => Ok(String::new()),
            Err(error) => Err(error),
        }
    }
}

/// Returns the text up to the first NUL, or all of it.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Returns the first `count` bytes in hexadecimal digits.
fn hex(bytes: &[u8; BUILD_ID_SIZE], count: u32) -> String {
    let count = usize::try_from(count).map_or(BUILD_ID_SIZE, |count| count.min(BUILD_ID_SIZE));
    bytes[..count].iter().fold(String::new(), |mut digits, byte| {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_at_its_nul_or_with_its_room() {
        assert_eq!(text(b".7\0old"), ".7");
        assert_eq!(text(b"0123456789abcdef"), "0123456789abcdef");
        assert_eq!(text(b"\0"), "");
        assert_eq!(text(b""), "");
        assert_eq!(text(b"a\xffb\0"), "a\u{fffd}b");
    }

    #[test]
    fn a_build_id_is_at_most_as_long_as_its_room() {
        let mut bytes = [0; BUILD_ID_SIZE];
        bytes[..2].copy_from_slice(&[0x0a, 0xff]);
        assert_eq!(hex(&bytes, 2), "0aff");
        assert_eq!(hex(&bytes, 0), "");
        assert_eq!(hex(&bytes, u32::MAX).len(), 2 * BUILD_ID_SIZE);
    }
}
