// SPDX-License-Identifier: GPL-3.0-or-later
//! A cache of kernels, and of the reasons why others are refused.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::stat;

use super::error::ImageError;
use super::file::{ImageKey, open};
use super::kernel::Image;
use super::limit::SizeLimit;
use super::refused::RefusedKernel;

/// Most refused kernels that are remembered, each with a reason of some hundred bytes.
const MAX_REFUSED: usize = 256;

/// A cache of kernels, bounded in bytes. When it is full, the least recently used kernel is
/// dropped. Kernels that are refused are remembered, too, so that asking for one again does not
/// unpack it again.
///
/// [`ImageCache::open`] and [`ImageCache::from_file`] read a kernel in the caller's thread. A
/// caller that reads in another thread calls [`ImageCache::find`], [`Image::read`] there, and
/// [`ImageCache::keep`].
#[derive(Debug)]
pub struct ImageCache {
    images: HashMap<ImageKey, Entry>,
    refused: HashMap<ImageKey, Refused>,
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

#[derive(Debug)]
struct Refused {
    kernel: RefusedKernel,
    /// The clock at the last access.
    used: u64,
}

impl ImageCache {
    /// Returns an empty cache that holds at most `max_bytes` of kernels.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        let (images, refused) = (HashMap::new(), HashMap::new());
        Self { images, refused, max_bytes, held_bytes: 0, clock: 0 }
    }

    /// Returns the kernel at a path, and reads it only if it is not cached or has changed.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open(&mut self, path: &Path, limit: SizeLimit) -> Result<Arc<Image>, ImageError> {
        // A cached kernel does not have to be opened.
        let key = stat(path).ok().and_then(|stat| ImageKey::of_stat(&stat).ok());
        if let Some(found) = key.and_then(|key| self.find(key, limit)) {
            return found;
        }
        self.from_file(&open(path)?, limit)
    }

    /// Returns the kernel in an open file, and reads it only if it is not cached or has changed.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn from_file(&mut self, file: &File, limit: SizeLimit) -> Result<Arc<Image>, ImageError> {
        let key = ImageKey::of(file)?;
        if let Some(found) = self.find(key, limit) {
            return found;
        }
        self.keep(key, limit, Image::read(file, key, limit))
    }

    /// Returns the kernel with this key, or why it is refused. `None` if it must be read.
    pub fn find(
        &mut self,
        key: ImageKey,
        limit: SizeLimit,
    ) -> Option<Result<Arc<Image>, ImageError>> {
        self.clock += 1;
        if let Some(entry) = self.images.get_mut(&key) {
            entry.used = self.clock;
            return Some(Ok(Arc::clone(&entry.image)));
        }
        let refused = self.refused.get_mut(&key)?;
        let error = refused.kernel.error(limit, Instant::now())?;
        refused.used = self.clock;
        Some(Err(error))
    }

    /// Keeps what [`Image::read`] has returned for a key and a limit, and returns it.
    ///
    /// # Errors
    /// The error of `read`.
    pub fn keep(
        &mut self,
        key: ImageKey,
        limit: SizeLimit,
        read: Result<Image, ImageError>,
    ) -> Result<Arc<Image>, ImageError> {
        match read {
            Ok(image) => {
                // After a change of the metadata alone the kernel stays the same value: shells that
                // hold it stay usable.
                let mut former = self.images.iter().filter(|(other, _)| is_same_file(other, &key));
                let same = former.find(|(_, entry)| entry.image.is_equal(&image));
                let image = same.map_or_else(|| Arc::new(image), |(_, old)| Arc::clone(&old.image));
                self.keep_image(key, &image);
                Ok(image)
            }
            Err(error) if error.is_of_content() => {
                let reason = Arc::new(error);
                self.keep_refused(key, limit, &reason);
                Err(ImageError::Remembered(reason))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns how many bytes of kernels the cache holds.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn keep_refused(&mut self, key: ImageKey, limit: SizeLimit, reason: &Arc<ImageError>) {
        self.refused.retain(|other, _| !is_same_file(other, &key));
        while self.refused.len() >= MAX_REFUSED {
            let oldest = self.refused.iter().min_by_key(|(_, refused)| refused.used);
            let Some((oldest, _)) = oldest else { break };
            let oldest = *oldest;
            self.refused.remove(&oldest);
        }
        let kernel = RefusedKernel::new(Arc::clone(reason), limit, Instant::now());
        self.refused.insert(key, Refused { kernel, used: self.clock });
    }

    fn keep_image(&mut self, key: ImageKey, image: &Arc<Image>) {
        let size = image.held_bytes();
        self.refused.remove(&key);
        // The former content of the same file is no longer needed.
        self.remove(|other| is_same_file(other, &key));
        if size > self.max_bytes {
            return;
        }
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

fn is_same_file(a: &ImageKey, b: &ImageKey) -> bool {
    (a.dev, a.ino) == (b.dev, b.ino)
}
