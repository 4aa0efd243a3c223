// SPDX-License-Identifier: GPL-3.0-or-later
//! Opening files, and the cache.

use std::fs;
use std::sync::Arc;

use super::kernel_file::{KernelFile, gzip};
use super::*;

#[test]
fn only_regular_files_are_read() {
    assert!(matches!(Image::open("/".as_ref()), Err(ImageError::NotRegular)));
    assert!(matches!(Image::open("/dev/zero".as_ref()), Err(ImageError::NotRegular)));
    assert!(matches!(Image::open("/no/such/file".as_ref()), Err(ImageError::Open(_))));
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(MAX_SIZE + 1).unwrap();
    assert!(matches!(Image::open(file.path()), Err(ImageError::TooLarge { .. })));
    // Opening a pipe without a writer must not block.
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(Image::open(&pipe), Err(ImageError::NotRegular)));
}

#[test]
fn a_change_of_a_kernel_before_it_is_read_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel");
    fs::write(&path, KernelFile::new().build()).unwrap();
    let image = Image::open_unread(&path).unwrap();
    assert!(image.check_unchanged().is_ok());
    fs::write(&path, KernelFile::new().load(0x20_0000, 0x10, 0x10).build()).unwrap();
    assert!(matches!(image.check_unchanged(), Err(ImageError::Changed)));

    fs::write(&path, gzip(&KernelFile::new().build())).unwrap();
    let packed = Image::open_unread(&path).unwrap();
    assert!(packed.held_bytes() > 0, "a packed kernel is read at once");
    fs::write(&path, b"something else").unwrap();
    assert!(packed.check_unchanged().is_ok());
}

#[test]
fn the_cache_rereads_a_kernel_only_if_it_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel");
    let kernel = KernelFile::new().build();
    fs::write(&path, &kernel).unwrap();
    let mut cache = ImageCache::new(kernel.len() + 10_000);
    let first = cache.open(&path).unwrap();
    assert!(Arc::ptr_eq(&first, &cache.open(&path).unwrap()));

    // Written in place: the same inode with another content.
    fs::write(&path, KernelFile::new().load(0x20_0000, 0x10, 0x10).build()).unwrap();
    let second = cache.open(&path).unwrap();
    assert_eq!(second.segments().len(), 2);
    assert_eq!(cache.held_bytes(), second.held_bytes(), "the old content is dropped");

    // A failure is not cached.
    fs::write(&path, b"not a kernel").unwrap();
    assert!(cache.open(&path).is_err());
    fs::write(&path, &kernel).unwrap();
    assert_eq!(cache.open(&path).unwrap().segments().len(), 1);
}

#[test]
fn a_full_cache_drops_the_least_recently_used_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let kernel = KernelFile::new().build();
    for name in ["a", "b", "c"] {
        fs::write(path(name), &kernel).unwrap();
    }
    let mut cache = ImageCache::new(2 * kernel.len() + 1);
    let [a, b] = ["a", "b"].map(|name| cache.open(&path(name)).unwrap());
    assert!(Arc::ptr_eq(&a, &cache.open(&path("a")).unwrap()));
    cache.open(&path("c")).unwrap();
    assert_eq!(cache.held_bytes(), 2 * kernel.len());
    assert!(Arc::ptr_eq(&a, &cache.open(&path("a")).unwrap()));
    assert!(!Arc::ptr_eq(&b, &cache.open(&path("b")).unwrap()));

    let mut small = ImageCache::new(kernel.len() - 1);
    small.open(&path("a")).unwrap();
    assert_eq!(small.held_bytes(), 0, "a kernel larger than the cache is not kept");
}
