// SPDX-License-Identifier: GPL-3.0-or-later
//! A cache of kernels.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::stat;

use super::error::ImageError;
use super::file::{ImageKey, open};
use super::kernel::Image;

/// A cache of kernels, bounded in bytes. When it is full, the least recently used kernel is
/// dropped.
#[derive(Debug)]
pub struct ImageCache {
    images: HashMap<ImageKey, Entry>,
    max_bytes: usize,
    held_bytes: usize,
    /// Counts accesses.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    image: Arc<Image>,
    /// The clock at the last access.
    used: u64,
}

impl ImageCache {
    /// Returns an empty cache that holds at most `max_bytes` of kernels.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { images: HashMap::new(), max_bytes, held_bytes: 0, clock: 0 }
    }

    /// Returns the kernel at a path, and reads it only if it is not cached or has changed.
    ///
    /// # Errors
    /// As [`Image::open`]. Failures are not cached.
    pub fn open(&mut self, path: &Path) -> Result<Arc<Image>, ImageError> {
        // A cached kernel does not have to be opened.
        if let Some(image) =
            stat(path).ok().and_then(|stat| self.cached(ImageKey::of_stat(&stat).ok()?))
        {
            return Ok(image);
        }
        self.from_file(&open(path)?)
    }

    fn cached(&mut self, key: ImageKey) -> Option<Arc<Image>> {
        self.clock += 1;
        let entry = self.images.get_mut(&key)?;
        entry.used = self.clock;
        Some(Arc::clone(&entry.image))
    }

    /// Returns the kernel in an open file, and reads it only if it is not cached or has changed.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn from_file(&mut self, file: &File) -> Result<Arc<Image>, ImageError> {
        let key = ImageKey::of(file)?;
        if let Some(image) = self.cached(key) {
            return Ok(image);
        }
        let image = Arc::new(Image::from_file(file)?);
        self.keep(key, &image);
        Ok(image)
    }

    /// Returns how many bytes of kernels the cache holds.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn keep(&mut self, key: ImageKey, image: &Arc<Image>) {
        let size = image.held_bytes();
        if size > self.max_bytes {
            return;
        }
        // The former content of the same file is no longer needed.
        self.remove(|other| (other.dev, other.ino) == (key.dev, key.ino));
        while self.held_bytes > self.max_bytes - size {
            let oldest = self.images.iter().min_by_key(|(_, entry)| entry.used);
            let Some((oldest, _)) = oldest else { break };
            let oldest = *oldest;
            self.remove(|other| *other == oldest);
        }
        self.held_bytes += size;
        self.images.insert(key, Entry { image: Arc::clone(image), used: self.clock });
    }

    fn remove(&mut self, which: impl Fn(&ImageKey) -> bool) {
        let held = &mut self.held_bytes;
        self.images.retain(|key, entry| {
            let remove = which(key);
            if remove {
                *held -= entry.image.held_bytes();
            }
            !remove
        });
    }
}
