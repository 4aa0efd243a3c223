// SPDX-License-Identifier: GPL-3.0-or-later
//! Reads parts of a file, each with one system call.

use std::fs::File;
use std::os::unix::fs::FileExt;

use object::read::ReadCacheOps;

/// A file of known size, with a position of its own.
#[derive(Debug)]
pub(super) struct Positioned<'a> {
    file: &'a File,
    size: u64,
    position: u64,
}

impl<'a> Positioned<'a> {
    pub(super) fn new(file: &'a File, size: u64) -> Self {
        Self { file, size, position: 0 }
    }
}

impl ReadCacheOps for Positioned<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        Ok(self.size)
    }

    fn seek(&mut self, position: u64) -> Result<u64, ()> {
        self.position = position;
        Ok(position)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ()> {
        let count = self.file.read_at(bytes, self.position).map_err(drop)?;
        self.position += count as u64;
        Ok(count)
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), ()> {
        self.file.read_exact_at(bytes, self.position).map_err(drop)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}
