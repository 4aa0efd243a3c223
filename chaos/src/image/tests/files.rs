// SPDX-License-Identifier: GPL-3.0-or-later
//! Opening files, and the cache.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use xen::units::KiB;

use super::kernel_file::{KernelFile, gzip};
use super::*;

#[test]
fn only_regular_files_are_read() {
    assert!(matches!(Image::open("/".as_ref(), SizeLimit::MOST), Err(ImageError::NotRegular)));
    assert!(matches!(
        Image::open("/dev/zero".as_ref(), SizeLimit::MOST),
        Err(ImageError::NotRegular)
    ));
    assert!(matches!(
        Image::open("/no/such/file".as_ref(), SizeLimit::MOST),
        Err(ImageError::Open(_))
    ));
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(MAX_SIZE + 1).unwrap();
    assert!(matches!(Image::open(file.path(), SizeLimit::MOST), Err(ImageError::TooLarge { .. })));
}

#[test]
fn what_is_not_a_regular_file_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let [pipe, kernel] = ["pipe", "kernel"].map(|name| folder.path().join(name));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(&kernel, KernelFile::new().build()).unwrap();
    let opened = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    opened.add_watch(folder.path(), AddWatchFlags::IN_OPEN).unwrap();
    assert!(matches!(Image::open(&pipe, SizeLimit::MOST), Err(ImageError::NotRegular)));
    assert_eq!(opened.read_events().err(), Some(Errno::EAGAIN), "the pipe was opened");
    // A link leads to the file as before.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&kernel, &link).unwrap();
    Image::open(&link, SizeLimit::MOST).unwrap();
    assert_eq!(opened.read_events().unwrap().len(), 1);
}

#[test]
fn a_kernel_of_the_same_size_and_time_in_the_same_inode_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel");
    let mut cache = ImageCache::new(1 << 20);
    let mut image = |byte: u8| {
        let mut kernel = KernelFile::new();
        kernel.loads[0].bytes[100] = byte;
        let mut file = fs::OpenOptions::new();
        let mut file = file.write(true).create(true).truncate(false).open(&path).unwrap();
        file.write_all(&kernel.build()).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        cache.open(&path, SizeLimit::MOST).unwrap()
    };
    let old = image(1);
    let written = fs::metadata(&path).unwrap();
    // Until the kernel's clock has ticked.
    let new = loop {
        let new = image(2);
        let now = fs::metadata(&path).unwrap();
        if (now.ctime(), now.ctime_nsec()) != (written.ctime(), written.ctime_nsec()) {
            assert_eq!((now.ino(), now.len()), (written.ino(), written.len()));
            break new;
        }
    };
    assert_eq!(bytes(&old, &old.segments()[0])[100], 1);
    assert_eq!(bytes(&new, &new.segments()[0])[100], 2);
}

#[test]
fn a_refused_kernel_is_remembered_until_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel");
    fs::write(&path, gzip(b"not a kernel")).unwrap();
    let mut cache = ImageCache::new(1 << 20);
    let mut reason = |limit| match cache.open(&path, limit).map(|_| ()) {
        Err(ImageError::Remembered(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let first = reason(SizeLimit::MOST);
    assert!(matches!(*first, ImageError::NotElf { .. }));
    assert!(Arc::ptr_eq(&first, &reason(SizeLimit::MOST)), "it was read again");
    assert!(Arc::ptr_eq(&first, &reason(SizeLimit::of_guest(KiB(8192)))), "it was read again");
    assert_eq!(ImageError::Remembered(Arc::clone(&first)).to_string(), first.to_string());

    // Many others, so that the first one is forgotten.
    for number in 0..300 {
        let other = folder.path().join(number.to_string());
        fs::write(&other, b"not a kernel").unwrap();
        assert!(cache.open(&other, SizeLimit::MOST).is_err());
    }
    match cache.open(&path, SizeLimit::MOST).map(|_| ()) {
        Err(ImageError::Remembered(again)) => assert!(!Arc::ptr_eq(&first, &again)),
        other => panic!("{other:?}"),
    }
    fs::write(&path, KernelFile::new().build()).unwrap();
    cache.open(&path, SizeLimit::MOST).unwrap();
}

#[test]
fn a_kernel_that_is_too_large_for_one_guest_is_read_again_for_a_larger_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel");
    fs::write(&path, gzip(&KernelFile::new().load(1 << 30, 65 << 20, 65 << 20).build())).unwrap();
    let mut cache = ImageCache::new(1 << 20);
    let small = SizeLimit::of_guest(KiB(1024));
    for _ in 0..2 {
        let error = cache.open(&path, small).unwrap_err().to_string();
        assert!(error.starts_with("the unpacked kernel must be at most 65 MiB for"), "{error}");
    }
    cache.open(&path, SizeLimit::of_guest(KiB(2048))).unwrap();
}

#[test]
fn of_a_file_that_is_not_packed_only_the_segments_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel");
    fs::write(&path, KernelFile::new().load(0x20_0000, 0x10, 0x10).build()).unwrap();
    // Debug information.
    fs::File::options().append(true).open(&path).unwrap().set_len(MAX_SIZE).unwrap();
    let image = Image::open(&path, SizeLimit::of_guest(KiB(4096))).unwrap();
    assert_eq!(image.held_bytes(), 4096 + 0x10);
    assert_eq!(bytes(&image, &image.segments()[1]), [0xcc; 0x10]);
    assert_eq!(bytes(&image, &image.segments()[0]), KernelFile::new().loads[0].bytes);

    fs::write(&path, KernelFile::new().load(1 << 30, 66 << 20, 66 << 20).build()).unwrap();
    let refused = Image::open(&path, SizeLimit::of_guest(KiB(1024))).unwrap_err().to_string();
    assert!(refused.starts_with("what the kernel loads must be at most 65 MiB"), "{refused}");
}

#[test]
fn a_change_of_a_kernel_before_it_is_read_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel");
    fs::write(&path, KernelFile::new().build()).unwrap();
    let image = Image::open_unread(&path, SizeLimit::MOST).unwrap();
    assert!(image.check_unchanged().is_ok());
    fs::write(&path, KernelFile::new().load(0x20_0000, 0x10, 0x10).build()).unwrap();
    assert!(matches!(image.check_unchanged(), Err(ImageError::Changed)));

    fs::write(&path, gzip(&KernelFile::new().build())).unwrap();
    let packed = Image::open_unread(&path, SizeLimit::MOST).unwrap();
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
    let first = cache.open(&path, SizeLimit::MOST).unwrap();
    assert!(Arc::ptr_eq(&first, &cache.open(&path, SizeLimit::MOST).unwrap()));

    // Written in place: the same inode with another content.
    fs::write(&path, KernelFile::new().load(0x20_0000, 0x10, 0x10).build()).unwrap();
    let second = cache.open(&path, SizeLimit::MOST).unwrap();
    assert_eq!(second.segments().len(), 2);
    assert_eq!(cache.held_bytes(), second.held_bytes(), "the old content is dropped");

    // A change of the metadata alone.
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions.clone()).unwrap();
    assert!(Arc::ptr_eq(&second, &cache.open(&path, SizeLimit::MOST).unwrap()));
    assert_eq!(cache.held_bytes(), second.held_bytes());
    #[expect(clippy::permissions_set_readonly_false, reason = "the folder is the test's own")]
    permissions.set_readonly(false);
    fs::set_permissions(&path, permissions).unwrap();

    // The reason of a failure is not returned for another content.
    fs::write(&path, b"not a kernel").unwrap();
    assert!(cache.open(&path, SizeLimit::MOST).is_err());
    fs::write(&path, &kernel).unwrap();
    assert_eq!(cache.open(&path, SizeLimit::MOST).unwrap().segments().len(), 1);
}

#[test]
fn a_full_cache_drops_the_least_recently_used_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let kernel = KernelFile::new().build();
    for name in ["a", "b", "c"] {
        fs::write(path(name), &kernel).unwrap();
    }
    let held = 4096;
    let mut cache = ImageCache::new(2 * held + 1);
    let [a, b] = ["a", "b"].map(|name| cache.open(&path(name), SizeLimit::MOST).unwrap());
    assert!(Arc::ptr_eq(&a, &cache.open(&path("a"), SizeLimit::MOST).unwrap()));
    cache.open(&path("c"), SizeLimit::MOST).unwrap();
    assert_eq!(cache.held_bytes(), 2 * held);
    assert!(Arc::ptr_eq(&a, &cache.open(&path("a"), SizeLimit::MOST).unwrap()));
    assert!(!Arc::ptr_eq(&b, &cache.open(&path("b"), SizeLimit::MOST).unwrap()));

    let mut small = ImageCache::new(held - 1);
    small.open(&path("a"), SizeLimit::MOST).unwrap();
    assert_eq!(small.held_bytes(), 0, "a kernel larger than the cache is not kept");
}
