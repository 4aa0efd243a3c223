// SPDX-License-Identifier: GPL-3.0-or-later
//! Remembers which domain was served when noxsd crashed.
//!
//! A crash that comes from what a guest has written repeats when the next noxsd serves the guest
//! again, and would take the devices of all guests for good. So a panic appends the handle of the
//! domain that was being served to a file, and a domain that stands there twice is left out.
//! A kill is not a panic, and counts for no domain.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::host::serving;

/// How many crashes make noxsd leave a domain out.
const MOST: usize = 2;

/// Bytes of a handle.
const HANDLE: usize = 16;

/// The most crashes that are read: far more than noxsd can have while it leaves domains out.
const MOST_READ: u64 = 4096 * HANDLE as u64;

/// Why the crashes cannot be remembered.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path}, which says which domains crashed noxsd")]
pub struct CrashFileError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The crashes so far.
#[derive(Debug)]
pub struct Crashes {
    file: File,
    handles: Vec<[u8; HANDLE]>,
}

impl Crashes {
    /// Reads the file, which is beside the socket, and creates it if necessary. Removes from it the
    /// domains that are not `recorded` any more.
    ///
    /// # Errors
    /// The file cannot be opened, read or written.
    pub fn open(socket: &Path, recorded: &[[u8; HANDLE]]) -> Result<Self, CrashFileError> {
        let path = socket.with_extension("crashes");
        Self::at(&path, recorded).map_err(|source| CrashFileError { path, source })
    }

    fn at(path: &Path, recorded: &[[u8; HANDLE]]) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(path)?;
        let mut bytes = Vec::new();
        (&file).take(MOST_READ).read_to_end(&mut bytes)?;
        let mut handles: Vec<[u8; HANDLE]> = bytes.as_chunks().0.to_vec();
        handles.retain(|handle| recorded.contains(handle));
        if handles.len() * HANDLE != bytes.len() {
            file.set_len(0)?;
            (&file).write_all(handles.as_flattened())?;
        }
        Ok(Self { file, handles })
    }

    /// Returns whether the domain with this handle must be left out.
    #[must_use]
    pub fn leave_out(&self, handle: [u8; HANDLE]) -> bool {
        self.handles.iter().filter(|other| **other == handle).count() >= MOST
    }

    /// From now on, appends a handle when this process panics.
    pub fn record_panics(self) {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // Before the report, which may make a system call that the filter does not allow.
            self.append(serving::handle());
            report(info);
        }));
    }

    fn append(&self, handle: Option<[u8; HANDLE]>) {
        if let Some(handle) = handle
            && let Err(error) = (&self.file).write_all(&handle)
        {
            tracing::error!("cannot remember which domain was served: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_left_out_after_its_second_crash() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("noxsd.sock");
        for crash in 0..3 {
            let crashes = Crashes::open(&socket, &[[7; HANDLE], [8; HANDLE]]).unwrap();
            assert_eq!(crashes.leave_out([7; HANDLE]), crash >= MOST);
            assert!(!crashes.leave_out([8; HANDLE]));
            crashes.append(Some([7; HANDLE]));
            crashes.append(None);
        }
    }

    #[test]
    fn crashes_of_domains_that_are_gone_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("noxsd.sock");
        let both = [[7; HANDLE], [8; HANDLE]];
        let crashes = Crashes::open(&socket, &both).unwrap();
        for handle in [7, 8, 7, 8] {
            crashes.append(Some([handle; HANDLE]));
        }
        Crashes::open(&socket, &[[8; HANDLE]]).unwrap();
        let crashes = Crashes::open(&socket, &both).unwrap();
        assert_eq!(crashes.handles, [[8; HANDLE]; 2]);
    }

    #[test]
    fn a_file_that_was_cut_is_read_as_far_as_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("noxsd.sock");
        std::fs::write(folder.path().join("noxsd.crashes"), [7; 2 * HANDLE - 1]).unwrap();
        assert!(!Crashes::open(&socket, &[[7; HANDLE]]).unwrap().leave_out([7; HANDLE]));
    }
}
