// SPDX-License-Identifier: GPL-3.0-or-later
//! Who creates a domain whose handle does not say so, because its config sets `uuid=`.
//!
//! Without this, a domain that a killed process has left would be taken for one of another toolstack,
//! and stay.

use std::fs;
use std::io;

use xen::units::{DomId, DomainHandle};

use super::error::{RecordError, file_error};
use super::fs::write_new;
use super::paths::Records;

/// Name of the file in a domain's folder: its handle, and the one that names its creator.
const FILE: &str = "creator";

impl Records {
    /// Notes that a domain is about to get the handle `uuid`, and that `named` names its creator. Its
    /// folder must exist.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note_creator(
        &self,
        domid: DomId,
        uuid: DomainHandle,
        named: DomainHandle,
    ) -> Result<(), RecordError> {
        let path = self.folder(domid).join(FILE);
        // Of a domain that had the number before.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file_error("remove", &path)(error));
            }
            _ => {}
        }
        write_new(&path, [uuid.0, named.0].as_flattened())
    }

    /// Returns the handle that names the creator of a domain whose handle is `uuid`; `None` if chaos
    /// has not created it.
    #[must_use]
    pub fn creator(&self, domid: DomId, uuid: DomainHandle) -> Option<DomainHandle> {
        let bytes = fs::read(self.folder(domid).join(FILE)).ok()?;
        let [of, named] = bytes.as_chunks::<16>().0 else { return None };
        (*of == uuid.0).then_some(DomainHandle(*named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_creator_is_that_of_the_domain_with_this_handle() {
        let folder = tempfile::TempDir::new().unwrap();
        let records = Records::at(folder.path().to_owned());
        let (uuid, named, other) =
            (DomainHandle([1; 16]), DomainHandle([2; 16]), DomainHandle([3; 16]));
        assert_eq!(records.creator(DomId(4), uuid), None);
        records.make_folder(DomId(4)).unwrap();
        records.note_creator(DomId(4), other, other).unwrap();
        records.note_creator(DomId(4), uuid, named).unwrap();
        assert_eq!(records.creator(DomId(4), uuid), Some(named));
        assert_eq!(records.creator(DomId(4), other), None);
        for damaged in [&b""[..], &[1; 31], &[1; 33], &[1; 48]] {
            fs::write(records.folder(DomId(4)).join(FILE), damaged).unwrap();
            assert_eq!(records.creator(DomId(4), other), None, "{}", damaged.len());
        }
    }
}
