//! Kernels that were read before.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::stat;

use super::error::ImageError;
use super::file::{ImageKey, open};
use super::kernel::Image;

/// Kernels that were read before, up to a number of bytes.
///
/// When it is full, the least recently used one is dropped first.
#[derive(Debug)]
pub struct ImageCache {
    images: HashMap<ImageKey, Entry>,
    max_bytes: usize,
    held_bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    image: Arc<Image>,
    used: u64,
}

impl ImageCache {
    /// Returns an empty cache that holds at most `max_bytes` of kernels.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { images: HashMap::new(), max_bytes, held_bytes: 0, clock: 0 }
    }

    /// Returns the kernel at a path, read only if it is not known or has changed.
    ///
    /// # Errors
    /// As [`Image::open`]. A failure is not remembered.
    pub fn open(&mut self, path: &Path) -> Result<Arc<Image>, ImageError> {
        // A known kernel need not be opened.
        if let Some(image) =
            stat(path).ok().and_then(|stat| self.known(ImageKey::of_stat(&stat).ok()?))
        {
            return Ok(image);
        }
        self.from_file(&open(path)?)
    }

    fn known(&mut self, key: ImageKey) -> Option<Arc<Image>> {
        self.clock += 1;
        let entry = self.images.get_mut(&key)?;
        entry.used = self.clock;
        Some(Arc::clone(&entry.image))
    }

    /// Returns the kernel in an open file, read only if it is not known or has changed.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn from_file(&mut self, file: &File) -> Result<Arc<Image>, ImageError> {
        let key = ImageKey::of(file)?;
        if let Some(image) = self.known(key) {
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
        // An earlier content of the same file is not needed any more.
        self.forget(|other| (other.dev, other.ino) == (key.dev, key.ino));
        while self.held_bytes > self.max_bytes - size {
            let oldest = self.images.iter().min_by_key(|(_, entry)| entry.used);
            let Some((oldest, _)) = oldest else { break };
            let oldest = *oldest;
            self.forget(|other| *other == oldest);
        }
        self.held_bytes += size;
        self.images.insert(key, Entry { image: Arc::clone(image), used: self.clock });
    }

    fn forget(&mut self, which: impl Fn(&ImageKey) -> bool) {
        let held = &mut self.held_bytes;
        self.images.retain(|key, entry| {
            let forget = which(key);
            if forget {
                *held -= entry.image.held_bytes();
            }
            !forget
        });
    }
}
