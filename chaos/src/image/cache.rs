//! Kernels that were read before.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Stat, fstat, stat};

use super::{Image, ImageError, MAX_SIZE, open};

/// What tells one content of a file from another, as far as its metadata shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageKey {
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of its content, in nanoseconds since 1970.
    pub mtime_ns: i128,
}

impl ImageKey {
    /// The key of an open file.
    ///
    /// # Errors
    /// Its metadata cannot be read, it is no regular file, or it is larger than [`MAX_SIZE`].
    pub fn of(file: &File) -> Result<Self, ImageError> {
        // Not the standard library's: the kernel takes four times as long over its statx.
        Self::of_stat(&fstat(file).map_err(|errno| ImageError::Read(errno.into()))?)
    }

    fn of_stat(stat: &Stat) -> Result<Self, ImageError> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ImageError::NotRegular);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if size > MAX_SIZE {
            return Err(ImageError::TooLarge { what: "the file" });
        }
        Ok(Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size,
            mtime_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
        })
    }
}

/// Kernels that were read before, up to a number of bytes.
///
/// When it is full, the one that was asked for longest ago goes first.
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
    /// An empty cache that holds at most `max_bytes` of kernels.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { images: HashMap::new(), max_bytes, held_bytes: 0, clock: 0 }
    }

    /// The kernel at a path, read only if it is not known or has changed.
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

    /// The kernel in an open file, read only if it is not known or has changed.
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

    /// How many bytes of kernels the cache holds.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn keep(&mut self, key: ImageKey, image: &Arc<Image>) {
        let size = image.held_bytes();
        if size > self.max_bytes {
            return;
        }
        // The same file with another content will not be asked for again.
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
